//! What the other tests rely on: that a receiver's export is what was sent, and that the proxy and the broken
//! endpoints behave as their names say. The agent has no part in it.

use std::{io::Read as _, net::TcpStream};

use tonic::codec::CompressionEncoding;

use crate::{
    Case, Need,
    broken::Broken,
    certificates::{Certificates, FAR, Identity},
    connect_proxy::{Asked, Behaviour, ConnectProxy},
    nginx::Nginx,
    receiver::{Kind, Receiver},
    requests::{export, logs, record, request},
    send,
    server::{self, Reserved},
};

pub(crate) const CASES: &[Case] = &[
    SHOWN_ROTEL,
    SHOWN_MOCK,
    COMES_BACK_ROTEL,
    COMES_BACK_MOCK,
    LIMITED_ROTEL,
    LIMITED_MOCK,
    LOG_RECORDS,
    LOGS_REFUSED,
    TLS,
    LIMITED_BY_NGINX,
    MUTUAL,
    RENEWED,
    UNAVAILABLE,
    BY_PROXY,
    BROKEN,
];

const SHOWN_ROTEL: Case = Case::new("rotel shows all that was sent", &[Need::Rotel], || shown(Kind::Rotel));
const SHOWN_MOCK: Case =
    Case::new("mockotlpserver shows all that was sent", &[Need::Mock], || shown(Kind::Mock));

fn shown(kind: Kind) {
    let receiver = Receiver::start(kind);
    assert_eq!(receiver.exports(), []);
    assert_eq!(send::http(receiver.http_port(), &request("http")), 200);
    assert_eq!(receiver.exports().last(), Some(&export("http")));
    assert_eq!(send::http_gzip(receiver.http_port(), &request("http, gzip")), 200);
    assert_eq!(receiver.exports().last(), Some(&export("http, gzip")));
    send::grpc(receiver.grpc_port(), request("grpc"), None).unwrap();
    send::grpc(receiver.grpc_port(), request("grpc, gzip"), Some(CompressionEncoding::Gzip)).unwrap();
    let exports = receiver.wait_for("four exports", |exports| exports.len() >= 4);
    assert_eq!(exports, ["http", "http, gzip", "grpc", "grpc, gzip"].map(export));
}

const COMES_BACK_ROTEL: Case =
    Case::new("rotel comes back where it was", &[Need::Rotel], || comes_back(Kind::Rotel));
const COMES_BACK_MOCK: Case =
    Case::new("mockotlpserver comes back where it was", &[Need::Mock], || comes_back(Kind::Mock));

fn comes_back(kind: Kind) {
    let receiver = Receiver::start(kind);
    let (grpc, http) = (receiver.grpc_port(), receiver.http_port());
    assert_eq!(send::http(http, &request("before")), 200);
    drop(receiver);
    TcpStream::connect(server::loopback(http)).unwrap_err();
    let receiver = Receiver::start_at(kind, grpc, http);
    assert_eq!((receiver.grpc_port(), receiver.http_port()), (grpc, http));
    assert_eq!(send::http(http, &request("after")), 200);
    assert_eq!(receiver.exports(), [export("after")]);
}

const LIMITED_ROTEL: Case =
    Case::new("rotel takes 4 MiB over gRPC and no more", &[Need::Rotel], || limited(Kind::Rotel));
const LIMITED_MOCK: Case =
    Case::new("mockotlpserver takes 4 MiB over gRPC and no more", &[Need::Mock], || limited(Kind::Mock));

fn limited(kind: Kind) {
    const LIMIT: usize = 4 << 20;
    // A few hundred bytes of other things are in a request.
    let fitting = "x".repeat(LIMIT - 2048);
    let receiver = Receiver::start(kind);
    send::grpc(receiver.grpc_port(), request(&fitting), None).unwrap();
    assert_eq!(receiver.exports(), [export(&fitting)]);
    let too_long = "x".repeat(LIMIT);
    send::grpc(receiver.grpc_port(), request(&too_long), None).unwrap_err();
    assert_eq!(send::http(receiver.http_port(), &request(&too_long)), 200);
    assert_eq!(receiver.exports().last(), Some(&export(&too_long)));
}

const LIMITED_BY_NGINX: Case =
    Case::new("nginx takes 4 MiB and no more where it shall", &[Need::Nginx, Need::Mock], limited_by_nginx);

fn limited_by_nginx() {
    const LIMIT: usize = 4 << 20;
    let receiver = Receiver::start(Kind::Mock);
    let nginx = Nginx::taking_4_mebibytes(&receiver);
    let fitting = "x".repeat(LIMIT - 2048);
    assert_eq!(send::http(nginx.http_port(), &request(&fitting)), 200);
    assert_eq!(send::http(nginx.http_port(), &request(&"x".repeat(LIMIT))), 413);
    assert_eq!(receiver.exports(), [export(&fitting)]);
}

const LOG_RECORDS: Case = Case::new("mockotlpserver shows log records too", &[Need::Mock], log_records);

fn log_records() {
    let receiver = Receiver::start(Kind::Mock);
    assert_eq!(send::http_logs(receiver.http_port(), &logs("http")), 200);
    assert_eq!(receiver.records(), [record("http")]);
    send::grpc_logs(receiver.grpc_port(), logs("grpc")).unwrap();
    assert_eq!(receiver.wait_for_records(2), [record("http"), record("grpc")]);
    assert_eq!(receiver.exports(), []);
}

const LOGS_REFUSED: Case =
    Case::new("rotel refuses log records where it shall, and takes metrics", &[Need::Rotel], logs_refused);

fn logs_refused() {
    let receiver = Receiver::start(Kind::RotelWithoutLogs);
    assert_eq!(send::http_logs(receiver.http_port(), &logs("")), 404);
    let status = send::grpc_logs(receiver.grpc_port(), logs("")).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented, "{status}");
    assert_eq!(send::http(receiver.http_port(), &request("http")), 200);
    send::grpc(receiver.grpc_port(), request("grpc"), None).unwrap();
    assert_eq!(receiver.exports(), ["http", "grpc"].map(export));
}

const TLS: Case = Case::new("nginx hands on what comes over TLS", &[Need::Nginx, Need::Rotel], tls);

fn tls() {
    let receiver = Receiver::start(Kind::Rotel);
    let certificates = Certificates::new();
    let nginx = Nginx::tls(&receiver, &certificates.server(), None);
    let authority = certificates.authority();
    let big = "x".repeat(3 << 20);
    assert_eq!(send::https(nginx.http_port(), &request(&big), &authority, None).unwrap(), 200);
    assert_eq!(receiver.exports(), [export(&big)]);
    send::https(nginx.http_port(), &request(""), &certificates.other_authority(), None).unwrap_err();
    assert_eq!(receiver.exports().len(), 1);
}

const MUTUAL: Case =
    Case::new("nginx lets in only who has a valid certificate", &[Need::Nginx, Need::Rotel], mutual);

fn mutual() {
    let receiver = Receiver::start(Kind::Rotel);
    let certificates = Certificates::new();
    let authority = certificates.authority();
    let nginx = Nginx::tls(&receiver, &certificates.server(), Some(&authority));
    let send = |identity: Option<&Identity>| {
        send::https(nginx.http_port(), &request(""), &authority, identity).unwrap()
    };
    assert_eq!(send(Some(&certificates.client())), 200);
    assert_eq!(send(None), 400);
    assert_eq!(send(Some(&certificates.expired_client())), 400);
    assert_eq!(send(Some(&certificates.other_client())), 400);
    assert_eq!(receiver.exports().len(), 1);
    let answers = nginx.wait_for_answers(4);
    for (answer, start) in answers.iter().zip([
        "200 HTTP/1.1 SUCCESS ",
        "400 HTTP/1.1 FAILED:certificate has expired ",
        "400 HTTP/1.1 FAILED:unable to verify ",
        "400 HTTP/1.1 NONE ",
    ]) {
        assert!(answer.starts_with(start), "{answers:?}");
    }
}

const RENEWED: Case =
    Case::new("nginx comes back with another certificate", &[Need::Nginx, Need::Rotel], renewed);

fn renewed() {
    let receiver = Receiver::start(Kind::Rotel);
    let certificates = Certificates::new();
    let authority = certificates.authority();
    let nginx = Nginx::tls(&receiver, &certificates.expired_server(), None);
    let (grpc, http) = (nginx.grpc_port(), nginx.http_port());
    send::https(http, &request(""), &authority, None).unwrap_err();
    nginx.wait_for_log("certificate expired");
    drop(nginx);
    let nginx = Nginx::tls_at(grpc, http, &receiver, &certificates.server(), None);
    assert_eq!(send::https(nginx.http_port(), &request(""), &authority, None).unwrap(), 200);
    assert_eq!(receiver.exports().len(), 1);
}

const UNAVAILABLE: Case = Case::new(
    "nginx without a receiver is unavailable, and a reserved port refuses",
    &[Need::Nginx],
    unavailable,
);

fn unavailable() {
    let nginx = Nginx::unavailable();
    assert_eq!(send::http(nginx.http_port(), &request("")), 503);
    let status = send::grpc(nginx.grpc_port(), request(""), None).unwrap_err();
    assert!(status.message().contains("503"), "{status}");
    let nobody = Reserved::new();
    TcpStream::connect(server::loopback(nobody.port)).unwrap_err();
}

const BY_PROXY: Case = Case::new(
    "the proxy makes tunnels and passes requests on, and refuses or hangs where it shall",
    &[Need::Mock],
    by_proxy,
);

fn by_proxy() {
    let receiver = Receiver::start(Kind::Mock);
    let proxy = ConnectProxy::start(Behaviour::Forward);
    let authority = format!("{FAR}:{}", receiver.http_port());
    let url = format!("http://{authority}/v1/metrics");
    let both = |text: &str, headers: &str| {
        [
            send::http_by_tunnel(proxy.port(), &authority, headers, &request(text)),
            send::http_by_proxy(proxy.port(), &url, headers, &request(text)),
        ]
    };
    assert_eq!(both("forward", ""), [200, 200]);
    for status in [403, 407, 502] {
        proxy.set(Behaviour::Refuse(status));
        assert_eq!(both("refused", ""), [status; 2]);
    }
    proxy.set(Behaviour::Ask("Basic YTpi".to_owned()));
    assert_eq!(both("asked", ""), [407, 407]);
    assert_eq!(both("asked", "Proxy-Authorization: Basic YTpi\r\n"), [200, 200]);
    assert_eq!(receiver.exports(), ["forward", "forward", "asked", "asked"].map(export));
    let asked = proxy.asked();
    let seen = |method: &str, target: &str, authorization: Option<&str>| Asked {
        method: method.to_owned(),
        target: target.to_owned(),
        authorization: authorization.map(str::to_owned),
    };
    assert_eq!(asked.len(), 12);
    assert_eq!(asked[..2], [seen("CONNECT", &authority, None), seen("POST", &url, None)]);
    assert_eq!(asked[11], seen("POST", &url, Some("Basic YTpi")));

    proxy.set(Behaviour::Hang);
    let mut stream = TcpStream::connect(server::loopback(proxy.port())).unwrap();
    std::io::Write::write_all(&mut stream, b"CONNECT a:1 HTTP/1.1\r\n\r\n").unwrap();
    server::wait_for("the request", || (proxy.asked().len() == 13).then_some(()), || format!("{asked:?}"));
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    proxy.set(Behaviour::Forward);
    let nobody = format!("{FAR}:{}", Reserved::new().port);
    assert_eq!(send::http_by_tunnel(proxy.port(), &nobody, "", &request("")), 502);
}

const BROKEN: Case =
    Case::new("a broken endpoint accepts, and is silent or cuts the connection", &[], broken);

fn broken() {
    let connect = |broken: &Broken| TcpStream::connect(server::loopback(broken.port())).unwrap();
    let cutting = Broken::cutting();
    let mut stream = connect(&cutting);
    std::io::Write::write_all(&mut stream, &[0; 100]).unwrap();
    assert!(!stream.read(&mut [0]).is_ok_and(|length| length > 0));
    assert_eq!(cutting.connections(), 1);
    let silent = Broken::silent();
    let mut stream = connect(&silent);
    stream.set_nonblocking(true).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    drop(silent);
    assert!(!stream.read(&mut [0]).is_ok_and(|length| length > 0));
}
