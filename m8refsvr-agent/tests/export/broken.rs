//! Endpoints that fail below HTTP, on ports of the system's choosing.

use std::{
    io::{ErrorKind, Read as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::{
    certificates::Identity,
    server::{Reserved, loopback},
};

/// A listener, which ends when dropped.
pub(crate) struct Broken {
    port: u16,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    stopped: AtomicBool,
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

    /// Accepts by TLS only who has a certificate of an authority, and says so as TLS 1.3 does: after the handshake.
    pub(crate) fn picky(identity: &Identity, authority: &Path) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(&identity.certificate).unwrap()],
                PrivateKeyDer::from_pem_file(&identity.key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        Self::start(move |mut stream| {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // Fails when it finds no certificate; what it has to say to that is sent all the same.
            let _ = connection.complete_io(&mut stream);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }

    fn start(mut meet: impl FnMut(TcpStream) + Send + 'static) -> Self {
        // Until it is bound, the port can be given to a connection that somebody else makes.
        let (port, listener) = loop {
            let port = Reserved::new().port;
            match TcpListener::bind(loopback(port)) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                bound => break (port, bound.unwrap()),
            }
        };
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
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
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes it.
        drop(TcpStream::connect(loopback(self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
