//! What the service manager is notified of.

use std::{os::unix::net::UnixDatagram, time::Duration};

use rustix::process::Signal;

use crate::{Case, agent::Agent, load::Name, server::PATIENCE};

pub(crate) const CASES: &[Case] = &[NOTIFIED];

const NOTIFIED: Case = Case::new(
    "the service manager is notified when the agent is ready, that it lives, and when it ends",
    &[],
    notified,
);

fn notified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    };
    let name = Name::new("manager");
    let _watched = name.start();
    // No collection comes by itself after the one at the start.
    let arguments = ["--ebpf", "off", "--interval", "86400", "--process", name.text(), "--agent-port", "9"];
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")];
    let mut agent = Agent::start_with(&arguments, &variables);
    assert_eq!(next(), format!("READY=1\nSTATUS=1 process matches '{}'\n", name.text()));
    for _ in 0..5 {
        assert_eq!(next(), "WATCHDOG=1\n");
    }
    agent.signal(Signal::TERM);
    let mut last = next();
    while last == "WATCHDOG=1\n" {
        last = next();
    }
    assert_eq!(last, "STOPPING=1\n");
    agent.wait();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    assert!(socket.recv(&mut [0; 64]).is_err(), "notified after STOPPING=1");
}
