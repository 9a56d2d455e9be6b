//! Context switches of a process as the kernel's own accounting has them: taskstats by TGID over generic netlink,
//! which needs CAP_NET_ADMIN. Layout: `include/uapi/linux/taskstats.h`, `Documentation/accounting/taskstats.rst`.
//!
//! Of a thread that ends they take what it has early in `do_exit`: where it waits or is preempted after that, on
//! its way out, only `getrusage` and who waits for the process see it (seen on Linux 6.18).

use std::os::fd::OwnedFd;

use m8refsvr_agent::bpf::Switches;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, bind, netlink, netlink::SocketAddrNetlink, recv, sendto,
    socket,
};

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const TASKSTATS_CMD_GET: u8 = 1;
const TASKSTATS_CMD_ATTR_TGID: u16 = 2;
const TASKSTATS_TYPE_STATS: u16 = 3;
const TASKSTATS_TYPE_AGGR_TGID: u16 = 5;
/// Offsets in `struct taskstats`.
const NVCSW: usize = 272;
const NIVCSW: usize = 280;
/// Headers of netlink and generic netlink.
const HEADERS: usize = 16 + 4;

/// A connection to the kernel's accounting.
pub(crate) struct Taskstats {
    socket: OwnedFd,
    family: u16,
}

impl Taskstats {
    /// Connects; the reason when it can't be done on this machine.
    pub(crate) fn connect() -> Result<Self, String> {
        let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::GENERIC))
            .map_err(|error| format!("no netlink socket: {error}"))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))
            .map_err(|error| format!("no netlink address: {error}"))?;
        let reply =
            request(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")?;
        let family = attribute(&reply, CTRL_ATTR_FAMILY_ID).ok_or("no taskstats in this kernel")?;
        let connected = Self { family: u16::from_ne_bytes([family[0], family[1]]), socket };
        connected.of(std::process::id()).map_err(|error| format!("taskstats are refused: {error}"))?;
        Ok(connected)
    }

    /// What a process has until now, of living and ended threads.
    pub(crate) fn of(&self, tgid: u32) -> Result<Switches, String> {
        let reply = request(
            &self.socket,
            self.family,
            TASKSTATS_CMD_GET,
            TASKSTATS_CMD_ATTR_TGID,
            &tgid.to_ne_bytes(),
        )?;
        let aggregate = attribute(&reply, TASKSTATS_TYPE_AGGR_TGID).ok_or("no statistics in the answer")?;
        let statistics = attribute(aggregate, TASKSTATS_TYPE_STATS).ok_or("no statistics in the answer")?;
        let word = |at: usize| {
            let bytes = statistics.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_ne_bytes).ok_or("the statistics are cut off")
        };
        Ok(Switches { voluntary: word(NVCSW)?, involuntary: word(NIVCSW)? })
    }
}

/// Sends a request with one attribute; returns the attributes of the answer.
fn request(socket: &OwnedFd, family: u16, command: u8, kind: u16, value: &[u8]) -> Result<Vec<u8>, String> {
    let attribute_length = 4 + value.len();
    let length = HEADERS + attribute_length.next_multiple_of(4);
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(&u16::try_from(attribute_length).unwrap().to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(length, 0);
    sendto(socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map_err(|e| e.to_string())?;
    let mut answer = vec![0; 8192];
    let (received, _) = recv(socket, &mut answer, RecvFlags::empty()).map_err(|error| error.to_string())?;
    answer.truncate(received);
    if u16::from_ne_bytes([answer[4], answer[5]]) == NLMSG_ERROR {
        let number = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        return Err(std::io::Error::from_raw_os_error(-number).to_string());
    }
    Ok(answer.split_off(HEADERS))
}

/// The value of an attribute.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [length_low, length_high, kind_low, kind_high, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([length_low, length_high]));
        // The upper two bits are flags.
        if u16::from_ne_bytes([kind_low, kind_high]) & 0x3fff == wanted {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}
