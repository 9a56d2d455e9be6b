//! The proxy nginx before a receiver, for TLS; or before nothing, for a service that is not available.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use tempfile::TempDir;

use crate::{
    Need,
    certificates::Identity,
    receiver::Receiver,
    server::{self, Ports, Server},
};

/// A running nginx; it ends when dropped.
pub(crate) struct Nginx {
    server: Server,
    ports: Ports,
    answers: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Nginx {
    /// TLS before a receiver. Where there are `clients`, only who has a certificate of that authority is let through:
    /// others are answered with status 400.
    pub(crate) fn tls(receiver: &Receiver, identity: &Identity, clients: Option<&Path>) -> Self {
        server::on_free_ports(|ports| Self::start(ports, &tls(ports, receiver, identity, clients)))
    }

    /// As [`Self::tls`], where another was before.
    pub(crate) fn tls_at(
        grpc: u16,
        http: u16,
        receiver: &Receiver,
        identity: &Identity,
        clients: Option<&Path>,
    ) -> Self {
        let ports = Ports { grpc, http };
        server::on_ports(ports, |ports| Self::start(ports, &tls(ports, receiver, identity, clients)))
    }

    /// Before a receiver without TLS, and answers with status 413 what is longer than receivers take over gRPC.
    pub(crate) fn taking_4_mebibytes(receiver: &Receiver) -> Self {
        let (grpc, http) = handing_on(receiver);
        let limited = |directives: &str| format!("client_max_body_size 4m; {directives}");
        let both = |ports| servers(ports, ("http2", &limited(&grpc)), ("", &limited(&http)));
        server::on_free_ports(|ports| Self::start(ports, &both(ports)))
    }

    /// Before a receiver without TLS, and hands log records on to a port where they may be met otherwise.
    pub(crate) fn with_logs_at(receiver: &Receiver, logs: u16) -> Self {
        let (grpc, http) = handing_on(receiver);
        // A location within that of all else.
        let grpc = format!(
            "{grpc} location /opentelemetry.proto.collector.logs {{ grpc_pass grpc://{}; }}",
            server::loopback(logs)
        );
        let http = format!("{http} location /v1/logs {{ proxy_pass http://{}; }}", server::loopback(logs));
        let both = |ports| servers(ports, ("http2", &grpc), ("", &http));
        server::on_free_ports(|ports| Self::start(ports, &both(ports)))
    }

    /// Answers everything with status 503, without TLS.
    pub(crate) fn unavailable() -> Self {
        Self::answering("return 503;")
    }

    /// Answers everything as some of its directives say, without TLS.
    pub(crate) fn answering(directives: &str) -> Self {
        let both = |ports| servers(ports, ("http2", directives), ("", directives));
        server::on_free_ports(|ports| Self::start(ports, &both(ports)))
    }

    fn start(ports: Ports, servers: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, format!("{HEAD}http {{\n{HTTP}{servers}}}\n")).unwrap();
        let mut command = Command::new(Need::Nginx.path().unwrap());
        // Until it has read its configuration it would log to the system's.
        command.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(&configuration);
        let answers = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&answers);
        let server = Server::start(&mut command, ports, move |line| {
            log.lock().unwrap().push(line.to_owned());
            true
        })?;
        Ok(Self { server, ports, answers, _folder: folder })
    }

    pub(crate) fn grpc_port(&self) -> u16 {
        self.ports.grpc
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.ports.http
    }

    /// Waits until it has answered so many requests; a line for each, sorted: status, protocol, what it found of the
    /// client's certificate (`SUCCESS`, `FAILED:reason` or `NONE`), and the path.
    pub(crate) fn wait_for_answers(&self, number: usize) -> Vec<String> {
        let answers = || {
            let mut answers = self.answers.lock().unwrap().clone();
            // It writes them when it is done with the connections, whose order is no matter.
            answers.sort();
            answers
        };
        let poll = || Some(answers()).filter(|answers| answers.len() >= number);
        server::wait_for(&format!("{number} answers"), poll, || {
            format!("{:?} {}", answers(), self.server.printed())
        })
    }

    /// Waits until its log contains a text; what became of handshakes is in it.
    pub(crate) fn wait_for_log(&self, text: &str) {
        let poll = || self.server.printed().contains(text).then_some(());
        server::wait_for(text, poll, || self.server.printed());
    }
}

/// One process, which ends at once when it is killed.
const HEAD: &str = "daemon off;
master_process off;
pid pid;
error_log stderr info;
events {}
";

const HTTP: &str = "log_format answer '$status $server_protocol $ssl_client_verify $request_uri';
access_log /dev/stdout answer;
client_body_temp_path body;
proxy_temp_path proxy;
fastcgi_temp_path fastcgi;
scgi_temp_path scgi;
uwsgi_temp_path uwsgi;
client_max_body_size 0;
ssl_protocols TLSv1.2 TLSv1.3;
";

fn tls(ports: Ports, receiver: &Receiver, identity: &Identity, clients: Option<&Path>) -> String {
    let Identity { certificate, key } = identity;
    let mut text =
        format!("ssl_certificate {};\nssl_certificate_key {};\n", certificate.display(), key.display());
    if let Some(authority) = clients {
        let authority = authority.display();
        writeln!(text, "ssl_client_certificate {authority};\nssl_verify_client on;").unwrap();
    }
    let (grpc, http) = handing_on(receiver);
    text + &servers(ports, ("ssl http2", &grpc), ("ssl", &http))
}

/// The directives for each protocol by which requests go to a receiver.
fn handing_on(receiver: &Receiver) -> (String, String) {
    let grpc = format!("grpc_pass grpc://{};", server::loopback(receiver.grpc_port()));
    let http = format!("proxy_pass http://{};", server::loopback(receiver.http_port()));
    (grpc, http)
}

/// For each protocol how it listens, and what it does with a request.
fn servers(ports: Ports, grpc: (&str, &str), http: (&str, &str)) -> String {
    let server = |port: u16, (how, what): (&str, &str)| {
        format!("server {{ listen {} {how}; location / {{ {what} }} }}\n", server::loopback(port))
    };
    server(ports.grpc, grpc) + &server(ports.http, http)
}
