//! Passes on what is sent to a receiver over HTTP/2 and back, and counts it: bytes as TCP carries them, so with the
//! headers and frames of HTTP, without those of TCP and IP; and requests, whether they are answered or not.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::server::loopback;

/// A relay for one connection; its threads end with it.
pub(crate) struct Relay {
    port: u16,
    sent: Arc<Sent>,
}

#[derive(Default)]
struct Sent {
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl Relay {
    /// To a port on loopback.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), sent: Arc::default() };
        let sent = Arc::clone(&relay.sent);
        thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(loopback(port)).unwrap();
            let (client_too, server_too) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || pass(server_too, client_too, |_| ()));
            let mut frames = Frames::default();
            pass(client, server, |bytes| {
                sent.bytes.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                sent.requests.fetch_add(frames.requests_ended_by(bytes), Ordering::SeqCst);
            });
        });
        relay
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that the client sent so far, and requests.
    pub(crate) fn sent(&self) -> (u64, u64) {
        (self.sent.bytes.load(Ordering::SeqCst), self.sent.requests.load(Ordering::SeqCst))
    }
}

/// Until one of the two has had enough.
fn pass(mut from: TcpStream, mut to: TcpStream, mut count: impl FnMut(&[u8])) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        count(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Where in a client's frames of HTTP/2 the bytes are: RFC 9113, sections 3.4 and 4.1.
struct Frames {
    /// Bytes to pass over: of the preface, or of a frame's payload.
    left: usize,
    header: Vec<u8>,
}

impl Default for Frames {
    fn default() -> Self {
        Self { left: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len(), header: Vec::new() }
    }
}

impl Frames {
    /// How many requests have their last frame begun in the next bytes.
    fn requests_ended_by(&mut self, bytes: &[u8]) -> u64 {
        const DATA: u8 = 0;
        const END_STREAM: u8 = 1;
        let mut ended = 0;
        for &byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            self.header.push(byte);
            if let [high, middle, low, kind, flags, _, _, _, _] = self.header[..] {
                self.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                ended += u64::from(kind == DATA && flags & END_STREAM != 0);
                self.header.clear();
            }
        }
        ended
    }
}
