//! A proxy as companies have them before the internet: it makes tunnels for `CONNECT host:port`, and passes on requests
//! that have the whole address in their first line. It knows the names of all hosts, as a proxy's own resolver does:
//! each is this machine.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::server::{PATIENCE, loopback};

/// What it does with requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Passes them on.
    Forward,
    /// Answers with this status.
    Refuse(u16),
    /// Passes on those with this `Proxy-Authorization`, and answers others with 407.
    Ask(String),
    /// Reads them, and never answers.
    Hang,
}

/// A request that it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// As the first line of the request has it.
    pub(crate) target: String,
    /// The header `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

/// A running proxy on loopback; it takes no more connections once it is dropped.
pub(crate) struct ConnectProxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    asked: Mutex<Vec<Asked>>,
    is_over: AtomicBool,
}

impl ConnectProxy {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared {
            behaviour: Mutex::new(behaviour),
            asked: Mutex::default(),
            is_over: AtomicBool::new(false),
        };
        let shared = Arc::new(shared);
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                if own.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (client, shared) = (client.unwrap(), Arc::clone(&own));
                thread::spawn(move || serve(client, &shared));
            }
        });
        Self { port, shared, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its address, as a variable has it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", loopback(self.port))
    }

    /// From now on; tunnels that were made before stay.
    pub(crate) fn set(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// All that it was asked so far, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(TcpStream::connect(loopback(self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The first lines of a request.
struct Head {
    asked: Asked,
    length: u64,
    /// Those headers that are not for the proxy.
    others: String,
}

/// Answers a connection's first request. There is no second one: it says that it closes the connection, or it is a
/// tunnel by then.
fn serve(client: TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let head = read_head(&mut reader)?;
    shared.asked.lock().unwrap().push(head.asked.clone());
    let behaviour = shared.behaviour.lock().unwrap().clone();
    let refused = match behaviour {
        Behaviour::Forward => None,
        Behaviour::Refuse(status) => Some(status),
        Behaviour::Ask(wanted) => (head.asked.authorization.as_ref() != Some(&wanted)).then_some(407),
        Behaviour::Hang => {
            // Until the client gives up.
            let _ = reader.read_to_end(&mut Vec::new());
            return None;
        }
    };
    if let Some(status) = refused {
        return refuse(client, &mut reader, head.length, status);
    }
    let tunnel = head.asked.method == "CONNECT";
    let (authority, path) = match (tunnel, head.asked.target.strip_prefix("http://")) {
        (true, _) => (head.asked.target.as_str(), ""),
        (false, Some(rest)) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        (false, None) => return refuse(client, &mut reader, head.length, 400),
    };
    let port = authority.rsplit_once(':').map_or(Some(80), |(_, port)| port.parse().ok());
    let Some(server) = port.and_then(|port| TcpStream::connect(loopback(port)).ok()) else {
        return refuse(client, &mut reader, head.length, 502);
    };
    if tunnel {
        (&client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    } else {
        let (method, others) = (&head.asked.method, &head.others);
        let start = format!("{method} {path} HTTP/1.1\r\n{others}Connection: close\r\n\r\n");
        (&server).write_all(start.as_bytes()).ok()?;
    }
    let (from, to) = (server.try_clone().ok()?, client);
    let back = thread::spawn(move || pass(from, &to));
    if tunnel {
        // With what the client has sent behind its request.
        pass(reader, &server);
    } else {
        std::io::copy(&mut reader.take(head.length), &mut &server).ok()?;
    }
    back.join().ok()
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<Head> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut head =
        Head { asked: Asked { method, target, authorization: None }, length: 0, others: String::new() };
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { return Some(head) };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "proxy-authorization" => head.asked.authorization = Some(value.to_owned()),
            "connection" | "proxy-connection" => {}
            name => {
                if name == "content-length" {
                    head.length = value.parse().ok()?;
                }
                head.others += &format!("{name}: {value}\r\n");
            }
        }
    }
}

fn refuse(client: TcpStream, reader: &mut BufReader<TcpStream>, length: u64, status: u16) -> Option<()> {
    // The connection would be reset, and the answer lost, with bytes of the request left.
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).ok()?;
    let how = if status == 407 { "Proxy-Authenticate: Basic realm=\"tests\"\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {status} Refused\r\n{how}Content-Length: 0\r\nConnection: close\r\n\r\n");
    (&client).write_all(answer.as_bytes()).ok()?;
    client.shutdown(Shutdown::Write).ok()?;
    client.set_read_timeout(Some(PATIENCE)).ok()?;
    reader.read_to_end(&mut Vec::new()).map(|_| ()).ok()
}

/// Until one of the two has had enough.
fn pass(mut from: impl std::io::Read, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
