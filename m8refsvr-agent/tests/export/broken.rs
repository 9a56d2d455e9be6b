//! Endpoints that fail below HTTP, on ports of the system's choosing.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::server::{Reserved, loopback};

/// A listener, which ends when dropped.
pub(crate) struct Broken {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    over: AtomicBool,
}

impl Broken {
    /// Accepts, and never answers.
    pub(crate) fn silent() -> Self {
        let mut held = Vec::new();
        Self::start(move |stream| held.push(stream))
    }

    /// Reads some bytes and cuts the connection.
    pub(crate) fn cutting() -> Self {
        // With bytes left unread the kernel resets the connection; without any it only ends it.
        Self::start(|mut stream| _ = stream.read(&mut [0; 10]))
    }

    fn start(mut meet: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let port = Reserved::new().port;
        let listener = TcpListener::bind(loopback(port)).unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                meet(stream.unwrap());
            }
        });
        Self { port, state, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(TcpStream::connect(loopback(self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
