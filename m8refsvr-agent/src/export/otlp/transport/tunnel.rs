//! A tunnel through a proxy, by CONNECT (RFC 9110, section 9.3.6). The one of hyper-util returns no status. It also
//! takes the first bytes of an HTTP/2 receiver for a part of the proxy's response, and waits for more.

use std::io;

use http::HeaderValue;
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Bytes of a response's head that are read.
const HEAD: usize = 8 << 10;

/// Why a proxy opens no tunnel.
#[derive(Debug, Error)]
pub(super) enum TunnelError {
    /// It refused, by this status.
    #[error("status {0}{hint}", hint = hint(*.0))]
    Status(u16),
    /// Its response is not HTTP.
    #[error("what it answers is not HTTP")]
    NoHttp,
    /// The connection to the proxy failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Asks the proxy at the other end of `stream` for a tunnel to `authority`, a host and a port. All that follows on the
/// stream is between the agent and the receiver.
pub(super) async fn open(
    stream: &mut TcpStream,
    authority: &str,
    authorization: Option<&HeaderValue>,
) -> Result<(), TunnelError> {
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        request.extend([b"Proxy-Authorization: ", authorization.as_bytes(), b"\r\n"].concat());
    }
    request.extend(b"\r\n");
    stream.write_all(&request).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head is of the receiver.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD {
            return Err(TunnelError::NoHttp);
        }
        head.push(stream.read_u8().await?);
    }
    match status(&head).ok_or(TunnelError::NoHttp)? {
        200..=299 => Ok(()),
        status => Err(TunnelError::Status(status)),
    }
}

fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5)?;
    let end = rest.get(5).copied().unwrap_or(b' ');
    (rest.get(1) == Some(&b' ') && matches!(end, b' ' | b'\r')).then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn hint(status: u16) -> &'static str {
    match status {
        407 => ", it wants credentials, as in HTTPS_PROXY=http://user:password@host:port",
        403 | 405 => ", it does not allow that place",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// The outcome with a proxy that responds with these pieces, and the bytes that follow on the connection.
    async fn opened(pieces: &[&[u8]]) -> (Result<(), String>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut proxy, _) = listener.accept().await.unwrap();
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let answering = tokio::spawn(async move {
            let mut asked = vec![0; 1024];
            let length = proxy.read(&mut asked).await.unwrap();
            for piece in pieces {
                proxy.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            String::from_utf8(asked[..length].to_vec()).unwrap()
        });
        let secret = HeaderValue::from_static("Basic abc");
        let outcome = open(&mut client, "receiver:4317", Some(&secret)).await;
        let asked = answering.await.unwrap();
        assert_eq!(
            asked,
            "CONNECT receiver:4317 HTTP/1.1\r\nHost: receiver:4317\r\nProxy-Authorization: Basic abc\r\n\r\n"
        );
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        (outcome.map_err(|error| error.to_string()), rest)
    }

    #[tokio::test]
    async fn bytes_of_the_receiver_stay_on_the_connection() {
        let answer = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n\x00\x00\x00\x04settings";
        let (outcome, rest) = opened(&[answer]).await;
        assert_eq!((outcome, rest), (Ok(()), b"\x00\x00\x00\x04settings".to_vec()));
        assert_eq!(opened(&[b"HT", b"TP/1.0 2", b"00\r", b"\n\r\n"]).await.0, Ok(()));
    }

    #[tokio::test]
    async fn a_refusal_has_its_status() {
        let of = async |answer: &'static [u8]| opened(&[answer]).await.0.unwrap_err();
        assert!(of(b"HTTP/1.1 407 no\r\n\r\n").await.starts_with("status 407, it wants credentials"));
        assert!(of(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await.starts_with("status 502"));
        for nonsense in
            [&b"SSH-2.0\r\n\r\n"[..], b"HTTP/1.1 2000 x\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"\r\n\r\n"]
        {
            assert_eq!(of(nonsense).await, "what it answers is not HTTP");
        }
        // The connection is closed within the head.
        assert!(!of(b"HTTP/1.1 200 ").await.is_empty());
    }
}
