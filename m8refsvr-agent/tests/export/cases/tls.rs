//! TLS and mutual TLS, with nginx on the other side.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Case,
    Need::{Mock, Nginx, Openssl},
    agent::{Agent, run},
    broken::Broken,
    certificates::{Certificates, Identity},
    nginx,
    receiver::{Kind, Receiver},
};

pub(crate) const CASES: &[Case] =
    &[MUTUAL, UNTRUSTED, BY_OPENSSL, UNUSABLE_FILES, RENEWAL, EXPIRED_AT_START, COMING, PICKY, NO_TLS_THERE];

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];
const ONCE: [&str; 6] = ["--once", "--ebpf", "off", "--sample", "0.01", "--tls"];

/// One export to localhost: exit code, and standard error.
fn export(protocol: &str, port: u16, more: &[&str]) -> (Option<i32>, String) {
    let port = port.to_string();
    // Of this test program, so that something matches.
    let place = ["--process", "export", "--protocol", protocol, "--agent-port", &port];
    run(&[&ONCE[..], &place[..], more].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn port(proxy: &nginx::Nginx, protocol: &str) -> u16 {
    if protocol == "grpc" { proxy.grpc_port() } else { proxy.http_port() }
}

const MUTUAL: Case = Case::new(
    "with mutual TLS an export arrives with the client certificate, and is refused without or with another",
    &[Mock, Nginx],
    mutual,
);

fn mutual() {
    let certificates = Certificates::new();
    let (authority, client) = (certificates.authority(), certificates.client());
    let other = certificates.other_client();
    let receiver = Receiver::start(Kind::Mock);
    let proxy = nginx::Nginx::tls(&receiver, &certificates.server(), Some(&authority));
    for protocol in PROTOCOLS {
        let with = |identity: &Identity| {
            let certificate = ["--client-cert", text(&identity.certificate)];
            let key = ["--client-key", text(&identity.key)];
            let authority = ["--ca-cert", text(&authority)];
            export(protocol, port(&proxy, protocol), &[authority, certificate, key].concat())
        };
        let before = receiver.exports().len();
        assert_eq!(with(&client), (Some(0), String::new()), "{protocol}");
        assert_eq!(receiver.exports().len(), before + 1);

        let (code, printed) = export(protocol, port(&proxy, protocol), &["--ca-cert", text(&authority)]);
        assert_eq!(code, Some(3), "{printed}");
        assert!(printed.contains("status 400"), "{protocol} without: {printed}");
        assert!(printed.contains("--client-cert"), "{protocol} without: {printed}");
        // Over gRPC tonic reads no page.
        let is_printed = |text: &str| protocol == "grpc" || printed.contains(text);
        assert!(is_printed("No required SSL certificate was sent"), "{protocol} without: {printed}");

        let (code, printed) = with(&other);
        assert_eq!(code, Some(3), "{printed}");
        let words = if protocol == "grpc" { "status 400" } else { "400 The SSL certificate error" };
        assert!(printed.contains(words), "{protocol} with another authority's: {printed}");

        let expired = certificates.expired_client();
        let (code, printed) = with(&expired);
        assert_eq!(code, Some(3), "{printed}");
        let named = format!("the client certificate in {} expired at", text(&expired.certificate));
        assert!(printed.contains(&named), "{protocol} expired: {printed}");
        assert_eq!(receiver.exports().len(), before + 1);
    }
}

const UNTRUSTED: Case = Case::new(
    "a receiver whose certificate is not trusted or out of its time gets nothing",
    &[Mock, Nginx],
    untrusted,
);

fn untrusted() {
    let certificates = Certificates::new();
    let receiver = Receiver::start(Kind::Mock);
    let proxy = nginx::Nginx::tls(&receiver, &certificates.server(), None);
    let expired = nginx::Nginx::tls(&receiver, &certificates.expired_server(), None);
    let coming = nginx::Nginx::tls(&receiver, &certificates.coming_server(), None);
    for protocol in PROTOCOLS {
        let refused = |proxy: &nginx::Nginx, more: &[&str], reason: &str| {
            let (code, printed) = export(protocol, port(proxy, protocol), more);
            assert_eq!(code, Some(3), "{protocol}: {printed}");
            assert!(printed.contains(reason), "{protocol}: {printed}");
        };
        let (authority, other) = (certificates.authority(), certificates.other_authority());
        refused(
            &proxy,
            &["--ca-cert", text(&other)],
            "unknown authority: give that authority's with --ca-cert",
        );
        refused(&expired, &["--ca-cert", text(&authority)], "the receiver's certificate has expired");
        let clock = "the receiver's certificate is not valid yet: check this machine's clock";
        refused(&coming, &["--ca-cert", text(&authority)], clock);
        // The same address, in a form that the certificate does not name.
        let name = ["--ca-cert", text(&authority), "--agent-host", "::ffff:127.0.0.1"];
        refused(&proxy, &name, "the receiver's certificate is not for the name [::ffff:127.0.0.1]");
        assert_eq!(export(protocol, port(&proxy, protocol), &["--ca-cert", text(&authority)]).0, Some(0));
    }
    assert_eq!(receiver.exports().len(), PROTOCOLS.len());
}

/// As `openssl x509 -req -signkey` makes it without -extfile, until 2126; rcgen makes none of this version.
const OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBHjCBxQIUIVB9sZXiQuERnBAUrs9GkH10uEUwCgYIKoZIzj0EAwIwETEPMA0G
A1UEAwwGY2xpZW50MCAXDTI2MTEyMzAxNDMzNloYDzIxMjYxMDMwMDE0MzM2WjAR
MQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARd343p
wytmG24wOVTYZZY9qvuz6TJOJzfPFEk/HZfOZF5OLiiaoJP1hs6KmHX95QW4mADx
TbL8XKV+PcCriCjfMAoGCCqGSM49BAMCA0gAMEUCIQCkLYqN6QGpc6eKkODysmqT
eNShrhU+oGnxZ5YwNbixAQIgVN6Z92NKgK3bUYdsoiep9D9htbmJ4zkgXaZWJR/j
OOo=
-----END CERTIFICATE-----
";

const UNUSABLE_FILES: Case =
    Case::new("files that can't be used are errors at start that name the file", &[], unusable_files);

fn unusable_files() {
    let certificates = Certificates::new();
    let (client, other) = (certificates.client(), certificates.other_client());
    let (expired, coming) =
        (certificates.expired_client(), certificates.coming_client(Duration::from_secs(3600)));
    let expired_authority = certificates.expired_authority();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let no_pem = file("no-pem", "no certificate\n");
    let cut = file("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    let of_version_1 = file("of-version-1", OF_VERSION_1);
    let cut_key = file("cut-key", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
    let encrypted = file(
        "encrypted",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    let missing = folder.path().join("missing");
    let pair = |certificate, key| vec!["--client-cert", text(certificate), "--client-key", text(key)];
    let authority = |path| vec!["--ca-cert", text(path)];
    let cases = [
        (authority(&missing), &missing, "cannot read the certificate of an authority"),
        (authority(&no_pem), &no_pem, "there is no certificate of an authority in"),
        (authority(&cut), &cut, "can't be used: it is cut off, or no certificate"),
        (pair(&missing, &client.key), &missing, "cannot read the client certificate"),
        (pair(&client.certificate, &missing), &missing, "cannot read the client key"),
        (pair(&client.certificate, &no_pem), &no_pem, "there is no client key in"),
        (pair(&client.certificate, &encrypted), &encrypted, "is encrypted: give one without a password"),
        (pair(&client.certificate, &other.key), &other.key, "does not belong to the certificate in"),
        (pair(&client.key, &client.key), &client.key, "there is no client certificate in"),
        (pair(&of_version_1, &client.key), &of_version_1, "is of X.509 version 1, and must be of version 3"),
        (pair(&client.certificate, &cut_key), &cut_key, "can't be used: it is broken, or neither of RSA"),
        // Nor does one that is out of its time hide any of it.
        (pair(&expired.certificate, &missing), &missing, "cannot read the client key"),
        (pair(&expired.certificate, &no_pem), &no_pem, "there is no client key in"),
        (pair(&expired.certificate, &other.key), &other.key, "does not belong to the certificate in"),
        (pair(&coming.certificate, &other.key), &other.key, "does not belong to the certificate in"),
        (
            [authority(&expired_authority), pair(&missing, &client.key)].concat(),
            &missing,
            "cannot read the client certificate",
        ),
    ];
    for (arguments, named, reason) in cases {
        for protocol in PROTOCOLS {
            let (code, printed) = export(protocol, 1, &arguments);
            assert_eq!(code, Some(2), "{arguments:?}: {printed}");
            assert!(printed.contains(reason) && printed.contains(text(named)), "{arguments:?}: {printed}");
        }
    }
}

const BY_OPENSSL: Case = Case::new(
    "a receiver's own certificate, made by openssl req -x509, is trusted where it is given and for its names",
    &[Mock, Nginx, Openssl],
    by_openssl,
);

fn by_openssl() {
    let certificates = Certificates::new();
    let named = certificates.by_openssl("named", Some("DNS:localhost,IP:127.0.0.1"));
    let of_common_name = certificates.by_openssl("of-common-name", None);
    let receiver = Receiver::start(Kind::Mock);
    let [with_names, without] =
        [&named, &of_common_name].map(|identity| nginx::Nginx::tls(&receiver, identity, None));
    for protocol in PROTOCOLS {
        for (proxy, given) in [(&with_names, &named), (&without, &of_common_name)] {
            let before = receiver.exports().len();
            let port = port(proxy, protocol);
            let outcome = export(protocol, port, &["--ca-cert", text(&given.certificate)]);
            assert_eq!(outcome, (Some(0), String::new()), "{protocol}");
            assert_eq!(receiver.exports().len(), before + 1);
        }
        let refused = |given: &Identity, host: &str, reason: &str| {
            let arguments = ["--ca-cert", text(&given.certificate), "--agent-host", host];
            let (code, printed) = export(protocol, port(&without, protocol), &arguments);
            assert_eq!(code, Some(3), "{protocol}: {printed}");
            assert!(printed.contains(reason), "{protocol}: {printed}");
        };
        refused(
            &named,
            "localhost",
            "it is an authority's own, and not among those of --ca-cert: give it there",
        );
        refused(&of_common_name, "127.0.0.1", "the receiver's certificate is not for the name 127.0.0.1");
    }
}

/// Files that are renewed.
struct Renewed(tempfile::TempDir);

impl Renewed {
    fn new(authority: &Path, client: &Identity) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.renew_all(authority, client);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As certbot and Kubernetes do: at once, by a name.
    fn renew(&self, name: &str, from: &Path) {
        let next = self.path("next");
        fs::copy(from, &next).unwrap();
        fs::rename(next, self.path(name)).unwrap();
    }

    fn renew_all(&self, authority: &Path, client: &Identity) {
        self.renew("ca", authority);
        self.renew("cert", &client.certificate);
        self.renew("key", &client.key);
    }

    /// An agent that exports with them.
    fn agent(&self, protocol: &str, port: u16) -> Agent {
        let port = port.to_string();
        let [ca, cert, key] = ["ca", "cert", "key"].map(|name| self.path(name));
        let files = ["--ca-cert", text(&ca), "--client-cert", text(&cert), "--client-key", text(&key)];
        let place = ["--tls", "--protocol", protocol, "--agent-port", &port];
        let loops = ["--interval", "0.2", "--ebpf", "off", "--process", "export"];
        Agent::start(&[&loops[..], &place[..], &files[..]].concat())
    }
}

const EXPIRED_AT_START: Case = Case::new(
    "an agent whose certificates have expired goes on and exports when they are renewed",
    &[Mock, Nginx],
    expired_at_start,
);

fn expired_at_start() {
    let certificates = Certificates::new();
    let (authority, expired) = (certificates.authority(), certificates.expired_client());
    let receiver = Receiver::start(Kind::Mock);
    let proxy = nginx::Nginx::tls(&receiver, &certificates.server(), Some(&authority));
    for protocol in PROTOCOLS {
        let port = port(&proxy, protocol);
        let files = Renewed::new(&authority, &expired);
        let mut agent = files.agent(protocol, port);
        agent.wait_for("WARN export to", 1);
        agent.wait_for_collections(10);
        let of_client = format!("the client certificate in {} expired at 2021", text(&files.path("cert")));
        assert_eq!(agent.lines_with("WARN") - agent.lines_with("WARN --ebpf off: "), 1, "{}", agent.log());
        assert_eq!(
            agent.lines_with(&format!("WARN export to https://localhost:{port}/")),
            1,
            "{}",
            agent.log()
        );
        assert!(agent.lines_with(&of_client) >= 2, "{}", agent.log());

        // One after the other: each state in between is logged, and none ends the agent.
        files.renew("cert", &certificates.client().certificate);
        agent.wait_for("does not belong to the certificate in", 1);
        files.renew("ca", &certificates.expired_authority());
        files.renew("key", &certificates.client().key);
        agent.wait_for("the certificate of an authority in", 1);
        assert!(agent.is_running() && agent.lines_with("stay in use") == 0, "{}", agent.log());
        let before = receiver.exports().len();
        files.renew_all(&authority, &certificates.client());
        agent.wait_for("the certificates are valid now, and in use", 1);
        agent.wait_for("exports arrive again", 1);
        receiver.wait_for("exports with renewed certificates", |exports| exports.len() >= before + 2);
    }
}

const COMING: Case = Case::new(
    "a certificate is used from when its time comes without being read for it",
    &[Mock, Nginx],
    coming,
);

fn coming() {
    let certificates = Certificates::new();
    let authority = certificates.authority();
    let receiver = Receiver::start(Kind::Mock);
    let proxy = nginx::Nginx::tls(&receiver, &certificates.server(), Some(&authority));
    // An agent starts in less.
    let files = Renewed::new(&authority, &certificates.coming_client(Duration::from_secs(8)));
    let agent = files.agent("grpc", proxy.grpc_port());
    agent.wait_for("is not valid before", 1);
    assert_eq!(receiver.exports().len(), 0);
    agent.wait_for("exports arrive again", 1);
    assert_eq!(agent.lines_with("WARN") - agent.lines_with("WARN --ebpf off: "), 1, "{}", agent.log());
}

const RENEWAL: Case =
    Case::new("renewed certificates are taken up without a restart", &[Mock, Nginx], renewal);

fn renewal() {
    let (old, new) = (Certificates::new(), Certificates::new());
    let files = Renewed::new(&old.authority(), &old.client());
    let receiver = Receiver::start(Kind::Mock);
    let mut proxy = nginx::Nginx::tls(&receiver, &old.server(), Some(&old.authority()));
    let (grpc, http) = (proxy.grpc_port(), proxy.http_port());
    let agents =
        [("grpc", grpc), ("http/protobuf", http)].map(|(protocol, port)| files.agent(protocol, port));
    receiver.wait_for("exports with the old certificates", |exports| exports.len() >= 4);
    drop(proxy);
    proxy = nginx::Nginx::tls_at(grpc, http, &receiver, &new.server(), Some(&new.authority()));
    for agent in &agents {
        agent.wait_for("unknown authority", 1);
    }
    // One of the two is not renewed yet: that is no pair, and the old ones stay.
    files.renew("cert", &new.client().certificate);
    for agent in &agents {
        agent.wait_for("renewed certificates can't be used, those from before stay in use", 1);
    }
    let before = receiver.exports().len();
    files.renew_all(&new.authority(), &new.client());
    for agent in &agents {
        agent.wait_for("renewed certificates are in use", 1);
        agent.wait_for("exports arrive again", 1);
    }
    receiver.wait_for("exports with the new certificates", |exports| exports.len() >= before + 4);
    drop(proxy);
}

const PICKY: Case =
    Case::new("a receiver that refuses the client certificate after the handshake is understood", &[], picky);

fn picky() {
    let certificates = Certificates::new();
    let authority = certificates.authority();
    let receiver = Broken::picky(&certificates.server(), &authority);
    let other = certificates.other_client();
    for protocol in PROTOCOLS {
        let refused = |more: &[&str], reason: &str| {
            let authority = ["--ca-cert", text(&authority)];
            let (code, printed) = export(protocol, receiver.port(), &[&authority[..], more].concat());
            assert_eq!(code, Some(3), "{protocol}: {printed}");
            let expected = format!("TLS: the receiver does not accept our certificate ({reason})");
            assert!(printed.contains(&expected), "{protocol}: {printed}");
        };
        refused(&[], "CertificateRequired");
        let pair = ["--client-cert", text(&other.certificate), "--client-key", text(&other.key)];
        refused(&pair, "UnknownCA");
    }
}

const NO_TLS_THERE: Case =
    Case::new("a receiver that speaks no TLS is distinguished from one that does", &[Mock], no_tls_there);

fn no_tls_there() {
    let receiver = Receiver::start(Kind::Mock);
    let certificates = Certificates::new();
    for (protocol, port) in [("grpc", receiver.grpc_port()), ("http/protobuf", receiver.http_port())] {
        let (code, printed) = export(protocol, port, &["--ca-cert", text(&certificates.authority())]);
        assert_eq!(code, Some(3), "{printed}");
        assert!(printed.contains("the receiver does not speak TLS there"), "{protocol}: {printed}");
    }
}
