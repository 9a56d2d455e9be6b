//! A server that others wrote, as a child process on loopback: started on free ports, ended when dropped. What it
//! prints is read all the time, so that it never waits for a reader.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

/// How long anything may take before it counts as broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether it has happened.
const PAUSE: Duration = Duration::from_millis(20);

/// The ports of a server: one for each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) grpc: u16,
    pub(crate) http: u16,
}

impl Ports {
    /// Two that are free at this moment.
    fn free() -> Self {
        let (grpc, http) = (Reserved::new(), Reserved::new());
        Self { grpc: grpc.port, http: http.port }
    }

    fn accept(self) -> bool {
        [self.grpc, self.http].into_iter().all(|port| TcpStream::connect(loopback(port)).is_ok())
    }
}

/// A port that no other test is given, and that refuses connections as long as this lives.
pub(crate) struct Reserved {
    pub(crate) port: u16,
    _socket: OwnedFd,
}

impl Reserved {
    pub(crate) fn new() -> Self {
        // The system gives a port again once it is free, which may be before the server has taken it.
        static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
        loop {
            // It does not listen: a socket is, for a moment, also held by a process that another thread starts, and
            // would accept connections to a server that has not started yet.
            let socket =
                socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            bind(&socket, &loopback(0)).unwrap();
            let port = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap().port();
            if GIVEN.lock().unwrap().insert(port) {
                return Self { port, _socket: socket };
            }
        }
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Starts something on free ports; on others when somebody else was faster.
pub(crate) fn on_free_ports<T>(start: impl Fn(Ports) -> Result<T, String>) -> T {
    let mut failures = String::new();
    for _ in 0..5 {
        match start(Ports::free()) {
            Ok(started) => return started,
            Err(failure) => failures += &failure,
        }
    }
    panic!("could not be started:\n{failures}");
}

/// Starts something on these ports, which whoever had them before may still be giving back.
pub(crate) fn on_ports<T>(ports: Ports, start: impl Fn(Ports) -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match start(ports) {
            Ok(started) => return started,
            Err(failure) if Instant::now() > end => panic!("could not be started on {ports:?}:\n{failure}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Waits until something is there; `what` is what is waited for, `seen` what there was instead.
pub(crate) fn wait_for<T>(what: &str, find: impl Fn() -> Option<T>, seen: impl FnOnce() -> String) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < end, "waited for {what}; {}", seen());
        thread::sleep(PAUSE);
    }
}

/// The process.
pub(crate) struct Server {
    process: Child,
    printed: Arc<Mutex<String>>,
}

impl Server {
    /// Starts it; returns once it accepts connections on both ports, or with its output if it ended. Each line of
    /// its standard output goes to `line`, which says whether it understood it; what nobody understood is kept, as is
    /// standard error.
    pub(crate) fn start(
        command: &mut Command,
        ports: Ports,
        line: impl FnMut(&str) -> bool + Send + 'static,
    ) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        let output = process.stdout.take().unwrap();
        read(output, &printed, line);
        let errors = process.stderr.take().unwrap();
        read(errors, &printed, |_| false);
        let mut server = Self { process, printed };
        let end = Instant::now() + PATIENCE;
        while !ports.accept() {
            server.check()?;
            assert!(Instant::now() < end, "does not accept on {ports:?}: {}", server.printed());
            thread::sleep(PAUSE);
        }
        // On a port of somebody else's it ends, though the port accepts.
        server.check()?;
        Ok(server)
    }

    /// An error once it has ended.
    fn check(&mut self) -> Result<(), String> {
        match self.process.try_wait().unwrap() {
            None => Ok(()),
            Some(status) => Err(format!("ended with {status}: {}\n", self.printed())),
        }
    }

    /// Its output, without the lines that were parsed.
    pub(crate) fn printed(&self) -> String {
        self.printed.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads until the process has ended.
fn read(
    from: impl Read + Send + 'static,
    printed: &Arc<Mutex<String>>,
    mut line: impl FnMut(&str) -> bool + Send + 'static,
) {
    let printed = Arc::clone(printed);
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&bytes);
            if !line(text.strip_suffix('\n').unwrap_or(&text)) {
                printed.lock().unwrap().push_str(&text);
            }
            bytes.clear();
        }
    });
}
