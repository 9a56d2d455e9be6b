//! The way to the receiver, one step after the other: its name, a connection, TLS, an export without metrics.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::finding::Finding;
use crate::export::otlp::{
    Client, ExportError, ProcessMessages, Protocol, Proxy, Receiver, Resource, connect, probe,
};

/// A certificate that is valid for less than this is a warning.
const SOON: Duration = Duration::from_secs(14 * 86_400);

#[derive(Debug)]
pub struct Exports {
    /// Of metrics, whether or not they are exported.
    pub client: Client,
    pub metrics: bool,
    pub logs: Option<Client>,
}

/// All steps as far as the first that fails.
pub async fn receiver(exports: Exports, resource: Resource) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The last finding is the step that failed.
    if let Err(failure) = steps(exports, resource, &mut findings).await {
        findings.push(failure);
    }
    findings
}

async fn steps(exports: Exports, resource: Resource, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let Exports { mut client, metrics, logs } = exports;
    let receiver = client.receiver().clone();
    let shown = receiver.shown();
    if let Some(reason) = client.unusable() {
        return Err(Finding::failure("TLS", reason.to_string()));
    }
    match &receiver.proxy {
        Some(proxy) => findings.push(through(proxy, &receiver).await?),
        None => straight(&receiver, findings).await?,
    }
    match &receiver.tls {
        None => findings.push(Finding::ok("TLS", "not used")),
        Some(_) => findings.push(tls(&receiver).await.map_err(|why| Finding::failure("TLS", why))?),
    }
    let failed = |why: String| Finding::failure("export", format!("to {shown} failed: {why}"));
    let protocol = match receiver.protocol {
        Protocol::Grpc => "gRPC",
        Protocol::HttpProtobuf => "HTTP",
    };
    let limit = receiver.timeout;
    if metrics {
        export(&mut client, &resource, limit).await.map_err(|error| failed(error.to_string()))?;
        // The first one made the connection.
        let took = export(&mut client, &resource, limit).await.map_err(|error| failed(error.to_string()))?;
        let took = milliseconds(took);
        let found = format!("one without metrics is accepted over {protocol}, round trip {took}");
        findings.push(Finding::ok("export", found));
    }
    if let Some(mut logs) = logs {
        let place = logs.receiver().shown();
        let sent = timeout(limit, logs.export_logs(&Arc::default())).await;
        let failed = |error| Finding::failure("log records", format!("to {place} failed: {error}"));
        sent.unwrap_or(Err(ExportError::Timeout(limit))).map_err(failed)?;
        findings.push(Finding::ok("log records", format!("a request without any is accepted at {place}")));
    }
    Ok(())
}

/// The way to a proxy, and through it where it is asked for a tunnel.
async fn through(proxy: &Proxy, receiver: &Receiver) -> Result<Finding, Finding> {
    let began = Instant::now();
    let connected = timeout(receiver.timeout, connect(receiver)).await;
    let connected = connected.unwrap_or(Err(ExportError::Timeout(receiver.timeout)));
    connected.map_err(|error| Finding::failure("proxy", format!("{}: {error}", proxy.shown())))?;
    let place = receiver.shown();
    let took = milliseconds(began.elapsed());
    Ok(Finding::ok("proxy", format!("{} is between here and {place}, reached in {took}", proxy.shown())))
}

/// The name and a connection, without a proxy.
async fn straight(receiver: &Receiver, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let addresses = resolved(receiver).await.map_err(|why| Finding::failure("receiver's name", why))?;
    let known: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.push(Finding::ok("receiver's name", format!("{} is at {}", receiver.shown(), known.join(", "))));
    let (address, took) =
        connected(&addresses, receiver.timeout).await.map_err(|why| Finding::failure("connection", why))?;
    findings.push(Finding::ok("connection", format!("to {address} in {}", milliseconds(took))));
    Ok(())
}

async fn resolved(receiver: &Receiver) -> Result<Vec<SocketAddr>, String> {
    let host = receiver.endpoint.host().unwrap_or_default();
    let port = receiver.endpoint.port_u16().unwrap_or(if receiver.tls.is_some() { 443 } else { 80 });
    // As it stands in a URL, an address of IPv6 is in brackets.
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(receiver.timeout, lookup_host((plain, port))).await;
    let advice = "check the name in --endpoint or --agent-host, and this machine's resolver";
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(format!("{host} can't be resolved: {error}; {advice}")),
        Err(_) => {
            return Err(format!("no answer within {:?} to where {host} is; {advice}", receiver.timeout));
        }
    };
    if addresses.is_empty() { Err(format!("{host} has no address; {advice}")) } else { Ok(addresses) }
}

/// The first address that accepts a connection.
async fn connected(addresses: &[SocketAddr], limit: Duration) -> Result<(SocketAddr, Duration), String> {
    let mut reasons = Vec::new();
    for &address in addresses {
        let began = Instant::now();
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok((address, began.elapsed())),
            Ok(Err(error)) => reasons.push(format!("{address}: {}", error.kind())),
            Err(_) => {
                reasons.push(format!("{address}: no answer within {limit:?}, as when a firewall drops it"))
            }
        }
    }
    Err(format!("{}; check that the receiver runs, and the port", reasons.join(", ")))
}

async fn tls(receiver: &Receiver) -> Result<Finding, String> {
    let shown = timeout(receiver.timeout, async { probe(receiver, connect(receiver).await?).await }).await;
    let shown =
        shown.unwrap_or(Err(ExportError::Timeout(receiver.timeout))).map_err(|error| error.to_string())?;
    let Some(until) = shown.valid_until else { return Ok(Finding::ok("TLS", shown.version)) };
    let words = humantime::format_rfc3339_seconds(until);
    let found = format!("{}, the receiver's certificate is valid until {words}", shown.version);
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    Ok(if left < SOON {
        Finding::warning("TLS", found, "renew it: exports fail afterwards")
    } else {
        Finding::ok("TLS", found)
    })
}

async fn export(client: &mut Client, resource: &Resource, limit: Duration) -> Result<Duration, ExportError> {
    let began = Instant::now();
    let sent = timeout(limit, client.send(ProcessMessages::without_metrics(resource))).await;
    sent.unwrap_or(Err(ExportError::Timeout(limit))).map(|_| began.elapsed())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", 1e3 * time.as_secs_f64())
}
