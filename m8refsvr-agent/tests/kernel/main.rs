//! Tests with the real programs in the running kernel, on real processes. They need root, and run one after the
//! other, as some of them keep a CPU busy. A test that can't run on this machine is reported as ignored, with
//! its name and the reason.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![expect(clippy::print_stderr, reason = "says why tests were left out")]

mod cases;
mod collecting;
mod counted;
mod load;
mod taskstats;

use std::{fs, path::Path, process::ExitCode};

use libtest_mimic::Arguments;
use m8refsvr_agent::bpf::{Kernel, KernelError, Options};
use m8refsvr_test_support::{case, machine, surroundings};
use taskstats::Taskstats;

/// What a test needs of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Loading and attaching programs.
    Bpf,
    /// A kernel of this release or later.
    Linux([u32; 2]),
    /// The kernel's accounting over netlink.
    Taskstats,
    /// A tracefs, for the classic tracepoints.
    Tracefs,
    /// A BPF file system, for pins.
    BpfFs,
    /// A disk below the target folder on which writes past the page cache reach a block device.
    Disk,
    /// The object with log statements.
    LogObject,
    /// Control groups that limit memory.
    MemoryGroup,
    /// strace, which shows what an agent opens.
    Strace,
    /// Control groups that limit threads.
    ThreadGroup,
    /// Two disks that may be overwritten, and what makes devices of them: the device mapper,
    DeviceMapper,
    /// LVM,
    Lvm,
    /// and md.
    Md,
    /// Memory of processes that are killed is written to files.
    CoreFiles,
    /// A CPU number 1, for a process alone.
    SecondCpu,
    /// User namespaces, and unshare, which makes them.
    UserNamespace,
    /// runc, which starts containers.
    Runc,
}

type Case = m8refsvr_test_support::case::Case<Need>;

fn main() -> ExitCode {
    if let Some(code) = m8refsvr_test_support::load::main() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    surroundings::begin();
    if let Err(error) = surroundings::private_mounts() {
        eprintln!("no mounts of our own: {error}");
    }
    case::run(cases::all(), &arguments, |need| reason_against(need).err())
}

/// The first two numbers of the kernel's release. Unlike uname(2), this file has the true one also below
/// `setarch --uname-2.6`.
fn release() -> [u32; 2] {
    let name = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = name.split(['.', '-', '+']);
    [(); 2].map(|()| numbers.next().unwrap().parse().unwrap())
}

fn reason_against(need: Need) -> Result<(), String> {
    match need {
        Need::Bpf => reason_against_bpf(),
        Need::Linux(least) if release() < least => {
            Err(format!("this kernel is older than Linux {}.{}", least[0], least[1]))
        }
        Need::Linux(_) => Ok(()),
        Need::Taskstats => Taskstats::connect().map(|_| ()),
        Need::Tracefs => fs::metadata("/sys/kernel/tracing/events/sched/sched_switch/format")
            .map(|_| ())
            .map_err(|error| format!("no tracefs: {error}")),
        Need::BpfFs => m8refsvr_agent::bpf::pins::running(Path::new("/sys/fs/bpf"))
            .map(|_| ())
            .map_err(|e| e.to_string()),
        Need::Disk => cases::block::reason_against_disk(),
        Need::MemoryGroup => machine::memory_cgroup().map(|_| ()),
        Need::Strace => match std::process::Command::new("strace").arg("-V").output() {
            Ok(output) if output.status.success() => Ok(()),
            _ => Err("strace is not installed".to_owned()),
        },
        Need::ThreadGroup => machine::pids_cgroup().map(|_| ()),
        Need::CoreFiles => machine::reason_against_core_files().map_or(Ok(()), Err),
        Need::DeviceMapper => cases::stacked::reason_against("dmsetup", "/dev/mapper/control"),
        Need::Lvm => cases::stacked::reason_against("lvm", "/dev/mapper/control"),
        Need::Md => cases::stacked::reason_against("mdadm", "/proc/mdstat"),
        Need::SecondCpu => match rustix::thread::sched_getaffinity(None) {
            Ok(cpus) if cpus.is_set(1) => Ok(()),
            _ => Err("there is no second CPU".to_owned()),
        },
        Need::UserNamespace => cases::rights::reason_against_user_namespaces(),
        Need::Runc => cases::container::runc().map(|_| ()),
        Need::LogObject => cases::log::object().map(|_| ()),
    }
}

/// Whether BPF programs may be loaded and attached here.
fn reason_against_bpf() -> Result<(), String> {
    match Kernel::attach(&Options { capacity: 1, bpf_fs: None, ..Options::default() }) {
        Err(
            error @ (KernelError::Refused { .. } | KernelError::PidNamespace | KernelError::OtherProc { .. }),
        ) => Err(error.to_string()),
        // Anything else is an error of ours, and shall be seen by the tests.
        _ => Ok(()),
    }
}
