//! Exports through a proxy: by tunnel, or as a request that the proxy passes on.

use rustix::process::Signal;

use crate::{
    Case,
    Need::{Mock, Nginx},
    agent::{Agent, code_and_errors, command},
    cases::check::{assert_found, check_with},
    certificates::{Certificates, FAR},
    connect_proxy::{Asked, Behaviour, ConnectProxy},
    load::Name,
    nginx,
    receiver::{Kind, Receiver},
    server::Reserved,
};

pub(crate) const CASES: &[Case] = &[WAYS, REFUSED, HANGING, CREDENTIALS_CASE, ROUND, LOCALHOST, CHECKED];

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];
/// `user` and `se cret`, as RFC 7617 has them.
const CREDENTIALS: &str = "Basic dXNlcjpzZSBjcmV0";

fn port(receiver: &Receiver, protocol: &str) -> u16 {
    if protocol == "grpc" { receiver.grpc_port() } else { receiver.http_port() }
}

/// Exports once about a process of its own; the exit code, and what the agent says.
fn once(protocol: &str, endpoint: &str, more: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let name = Name::new("behind");
    let _process = name.start();
    let mut command = command(&["--once", "--sample", "0.01", "--ebpf", "off", "--process", name.text()]);
    command.args(["--protocol", protocol, "--endpoint", endpoint]).args(more);
    code_and_errors(&command.envs(variables.iter().copied()).output().unwrap())
}

/// What a proxy is asked for an export to this place.
fn asked(protocol: &str, authority: &str, tls: bool) -> Asked {
    let (method, target) = if protocol == "grpc" || tls {
        ("CONNECT", authority.to_owned())
    } else {
        ("POST", format!("http://{authority}/v1/metrics"))
    };
    Asked { method: method.to_owned(), target, authorization: None }
}

const WAYS: Case =
    Case::new("exports go through a proxy, by tunnel where TLS or gRPC needs it", &[Mock, Nginx], ways);

fn ways() {
    let certificates = Certificates::new();
    let receiver = Receiver::start(Kind::Mock);
    let tls = nginx::Nginx::tls(&receiver, &certificates.server(), None);
    let authority = certificates.authority();
    let trusting = ["--ca-cert", authority.to_str().unwrap()];
    let mut arrived = 0;
    for protocol in PROTOCOLS {
        let plain = port(&receiver, protocol);
        let encrypted = if protocol == "grpc" { tls.grpc_port() } else { tls.http_port() };
        for (scheme, port, more, variable) in [
            ("http", plain, &[][..], "HTTP_PROXY"),
            ("http", plain, &[], "http_proxy"),
            ("http", plain, &[], "ALL_PROXY"),
            ("https", encrypted, &trusting, "HTTPS_PROXY"),
            ("https", encrypted, &trusting, "https_proxy"),
            ("https", encrypted, &trusting, "all_proxy"),
        ] {
            let case = format!("{protocol}, {scheme}, {variable}");
            let proxy = ConnectProxy::start(Behaviour::Forward);
            let place = format!("{FAR}:{port}");
            let outcome =
                once(protocol, &format!("{scheme}://{place}"), more, &[(variable, proxy.url().as_str())]);
            assert_eq!(outcome, (Some(0), String::new()), "{case}");
            assert_eq!(proxy.asked(), [asked(protocol, &place, scheme == "https")], "{case}");
            arrived += 1;
            assert_eq!(receiver.exports().len(), arrived, "{case}");
        }
        // That of the other scheme is for other endpoints: the name can't be found without a proxy.
        for (scheme, variable) in [("http", "HTTPS_PROXY"), ("https", "HTTP_PROXY")] {
            let proxy = ConnectProxy::start(Behaviour::Forward);
            let endpoint = format!("{scheme}://{FAR}:{plain}");
            let (code, printed) = once(protocol, &endpoint, &[], &[(variable, proxy.url().as_str())]);
            assert_eq!(code, Some(3), "{printed}");
            assert_eq!(proxy.asked(), [], "{variable} for {scheme}");
        }
    }
}

const REFUSED: Case = Case::new(
    "a proxy that refuses is named once, and exports arrive when it no longer does",
    &[Mock],
    refused,
);

fn refused() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(Kind::Mock);
        let proxy = ConnectProxy::start(Behaviour::Refuse(407));
        let endpoint = format!("http://{FAR}:{}", port(&receiver, protocol));
        let url = proxy.url();
        let address = url.strip_prefix("http://").unwrap();
        for status in [403, 407, 502] {
            proxy.set(Behaviour::Refuse(status));
            let (code, printed) = once(protocol, &endpoint, &[], &[("HTTP_PROXY", &url)]);
            assert_eq!(code, Some(3), "{protocol}: {printed}");
            assert!(
                printed.contains(address) && printed.contains(&status.to_string()),
                "{protocol}: {printed}"
            );
            assert!(printed.contains("proxy"), "{protocol}: {printed}");
        }
        proxy.set(Behaviour::Refuse(407));
        let agent = ["--ebpf", "off", "--interval", "0.1", "--protocol", protocol, "--endpoint", &endpoint];
        let agent = Agent::start_with(&agent, &[("HTTP_PROXY", &url)]);
        agent.wait_for("failed: ", 2);
        assert_eq!(agent.lines_with("WARN export to"), 1, "{}", agent.log());
        let log = agent.log();
        let warning = log.lines().find(|line| line.contains("WARN export to")).unwrap();
        assert!(warning.contains(address) && warning.contains("407"), "{warning}");
        assert_eq!(receiver.exports(), []);
        proxy.set(Behaviour::Forward);
        agent.wait_for("exports arrive again, after ", 1);
        receiver.wait_for("an export", |exports| !exports.is_empty());
        assert_eq!(agent.lines_with("WARN export to"), 1, "{}", agent.log());
    }
}

const HANGING: Case = Case::new("a proxy that never answers is named once the time is up", &[Mock], hanging);

fn hanging() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(Kind::Mock);
        let proxy = ConnectProxy::start(Behaviour::Hang);
        let endpoint = format!("http://{FAR}:{}", port(&receiver, protocol));
        let url = proxy.url();
        let variables = [("HTTP_PROXY", url.as_str()), ("OTEL_EXPORTER_OTLP_TIMEOUT", "500")];
        let (code, printed) = once(protocol, &endpoint, &[], &variables);
        assert_eq!(code, Some(3), "{protocol}: {printed}");
        assert!(printed.contains(url.strip_prefix("http://").unwrap()), "{protocol}: {printed}");
        // An agent that runs collects all the same, and ends at a signal.
        let agent = ["--ebpf", "off", "--interval", "0.1", "--protocol", protocol, "--endpoint", &endpoint];
        let mut agent = Agent::start_with(&agent, &variables);
        agent.wait_for_collections(10);
        agent.signal(Signal::TERM);
        assert_eq!(agent.wait().0, Some(0), "{}", agent.log());
        assert_eq!(receiver.exports(), []);
    }
}

const CREDENTIALS_CASE: Case =
    Case::new("a proxy is sent the credentials of its URL, and nobody else reads them", &[Mock], credentials);

fn credentials() {
    let receiver = Receiver::start(Kind::Mock);
    for protocol in PROTOCOLS {
        let proxy = ConnectProxy::start(Behaviour::Ask(CREDENTIALS.to_owned()));
        let endpoint = format!("http://{FAR}:{}", port(&receiver, protocol));
        let (url, port) = (proxy.url(), proxy.port());
        let known = format!("http://user:se%20cret@127.0.0.1:{port}");
        let wrong = format!("http://user:other%20cret@127.0.0.1:{port}");
        let is_secret = |printed: &str| {
            // The base64 of the other one begins with the same user.
            printed.contains("cret") || printed.contains("dXNlcj")
        };
        for (variable, code) in [(&url, 3), (&wrong, 3), (&known, 0)] {
            let before = receiver.exports().len();
            let (outcome, printed) = once(protocol, &endpoint, &[], &[("HTTP_PROXY", variable)]);
            assert_eq!(outcome, Some(code), "{protocol}, {variable}: {printed}");
            assert_eq!(receiver.exports().len(), before + usize::from(code == 0), "{protocol}, {variable}");
            assert!(!is_secret(&printed), "{printed}");
        }
        let last = proxy.asked().pop().unwrap();
        assert_eq!(last.authorization.as_deref(), Some(CREDENTIALS));

        for variable in [&known, &wrong] {
            let agent =
                ["--ebpf", "off", "--interval", "0.1", "--protocol", protocol, "--endpoint", &endpoint];
            let agent = Agent::start_with(&agent, &[("HTTP_PROXY", variable)]);
            agent.wait_for_collections(5);
            assert!(!is_secret(&agent.log()), "{}", agent.log());
            // Which proxy it is can be read all the same.
            assert!(agent.lines_with(&format!("127.0.0.1:{port}")) > 0, "{}", agent.log());
            let mut check = command(&["check", "--ebpf", "off", "--protocol", protocol]);
            check.args(["--endpoint", &endpoint]).env("HTTP_PROXY", variable);
            let output = check.output().unwrap();
            let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(printed.contains(&format!("127.0.0.1:{port}")), "{printed}");
            assert!(!is_secret(&printed), "{printed}");
        }
    }
}

const ROUND: Case = Case::new("NO_PROXY goes round the proxy", &[Mock], round);

fn round() {
    let receiver = Receiver::start(Kind::Mock);
    for protocol in PROTOCOLS {
        // An address of this machine that is not among those which never go through a proxy.
        let own = format!("http://0.0.0.0:{}", port(&receiver, protocol));
        let far = format!("http://{FAR}:{}", port(&receiver, protocol));
        let proxy = ConnectProxy::start(Behaviour::Forward);
        let url = proxy.url();
        let mut seen = 0;
        for (endpoint, without, variable, is_asked, code) in [
            (&own, "", "NO_PROXY", true, 0),
            (&own, "other.invalid", "NO_PROXY", true, 0),
            (&own, "0.0.0.0", "NO_PROXY", false, 0),
            (&own, "other.invalid, 0.0.0.0/8", "no_proxy", false, 0),
            (&own, "*", "no_proxy", false, 0),
            // These can't be found without the proxy.
            (&far, "receiver.invalid", "NO_PROXY", false, 3),
            (&far, ".invalid", "no_proxy", false, 3),
            (&far, "other.invalid", "no_proxy", true, 0),
        ] {
            let case = format!("{protocol}, {endpoint}, {variable}={without}");
            let before = receiver.exports().len();
            let variables = [("HTTP_PROXY", url.as_str()), (variable, without)];
            let (outcome, printed) = once(protocol, endpoint, &[], &variables);
            assert_eq!(outcome, Some(code), "{case}: {printed}");
            assert_eq!(receiver.exports().len(), before + usize::from(code == 0), "{case}");
            seen += usize::from(is_asked);
            assert_eq!(proxy.asked().len(), seen, "{case}: {:?}", proxy.asked());
        }
    }
}

const LOCALHOST: Case = Case::new("exports to this machine never go through a proxy", &[Mock], localhost);

fn localhost() {
    let receiver = Receiver::start(Kind::Mock);
    let proxy = ConnectProxy::start(Behaviour::Forward);
    let url = proxy.url();
    for protocol in PROTOCOLS {
        for (host, arrives) in
            [("localhost", true), ("127.0.0.1", true), ("127.1.2.3", false), ("[::1]", false)]
        {
            let before = receiver.exports().len();
            let endpoint = format!("http://{host}:{}", port(&receiver, protocol));
            let variables = [("HTTP_PROXY", url.as_str()), ("ALL_PROXY", &url)];
            let (code, printed) = once(protocol, &endpoint, &[], &variables);
            // Nobody listens at the others.
            assert_eq!(code, Some(if arrives { 0 } else { 3 }), "{protocol}, {host}: {printed}");
            assert_eq!(receiver.exports().len(), before + usize::from(arrives), "{protocol}, {host}");
            assert_eq!(proxy.asked(), [], "{protocol}, {host}");
        }
    }
}

const CHECKED: Case = Case::new("check shows the proxy as a step of its own", &[Mock], checked);

fn checked() {
    let receiver = Receiver::start(Kind::Mock);
    for protocol in PROTOCOLS {
        let proxy = ConnectProxy::start(Behaviour::Forward);
        let endpoint = format!("http://{FAR}:{}", port(&receiver, protocol));
        let place = ["--protocol", protocol, "--endpoint", &endpoint];
        let url = proxy.url();
        let address = url.strip_prefix("http://").unwrap();
        let (code, found) = check_with(&place, &[("HTTP_PROXY", &url)]);
        assert_eq!(code, Some(0), "{protocol}: {found:?}");
        assert_found(&found, "proxy", "ok", address);
        assert_found(&found, "export", "ok", "round trip ");

        for status in [403, 407, 502] {
            proxy.set(Behaviour::Refuse(status));
            let (code, found) = check_with(&place, &[("HTTP_PROXY", &url)]);
            assert_eq!(code, Some(3), "{protocol}: {found:?}");
            // A proxy that makes no tunnel is known to be at fault; to a request that it passes on a receiver may have
            // given the answer.
            let step = if protocol == "grpc" { "proxy" } else { &found.last().unwrap().check };
            assert!(["proxy", "export"].contains(&step), "{found:?}");
            assert_found(&found, step, "failure", &status.to_string());
        }

        let nobody = Reserved::new();
        let url = format!("http://127.0.0.1:{}", nobody.port);
        let (code, found) = check_with(&place, &[("HTTP_PROXY", &url)]);
        assert_eq!(code, Some(3), "{protocol}: {found:?}");
        assert_found(&found, "proxy", "failure", "connection refused");
        assert_eq!(found.last().unwrap().check, "proxy");
    }
}
