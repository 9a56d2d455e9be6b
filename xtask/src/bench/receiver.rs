//! A receiver of OTLP over HTTP that accepts everything without decoding it, so that it takes next to no CPU time.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// An empty response means that everything was accepted.
const ACCEPTED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
/// Longer than a working agent takes for an export.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An answered request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
}

pub(crate) struct Receiver {
    port: u16,
    arrived: mpsc::Receiver<Arrived>,
}

impl Receiver {
    /// Listens on a free port of this machine, until this program ends.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        let port = listener.local_addr().context("cannot find the port")?.port();
        let (sender, arrived) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                // The thread ends when the agent closes the connection.
                thread::spawn(move || serve(&stream, &sender));
            }
        });
        Ok(Self { port, arrived })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits for the next request.
    pub(crate) fn next(&self) -> Result<Arrived> {
        self.arrived.recv_timeout(TIMEOUT).context("the agent did not export")
    }

    /// All requests that have arrived and were not taken yet.
    pub(crate) fn take(&self) -> Vec<Arrived> {
        self.arrived.try_iter().collect()
    }
}

/// Answers the requests of a connection.
fn serve(stream: &TcpStream, arrived: &mpsc::Sender<Arrived>) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let at = Instant::now();
        writer.write_all(ACCEPTED).ok()?;
        arrived.send(Arrived { at, bytes: length }).ok()?;
    }
}
