//! The way to the receiver, one step after the other: its name, a connection, TLS, an export without figures.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, metrics::v1::ResourceMetrics, resource::v1::Resource,
};
use prost::Message as _;
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use super::Finding;
use crate::export::otlp::{Client, Compression, ExportError, Message, Protocol, Target, handshake};

/// A certificate that is valid for less is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Goes all the way. What follows a step that failed is not tried.
pub async fn receiver(client: Client, resource: Resource) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The last one says why there are no more.
    if let Err(failure) = steps(client, resource, &mut findings).await {
        findings.push(failure);
    }
    findings
}

async fn steps(mut client: Client, resource: Resource, findings: &mut Vec<Finding>) -> Result<(), Finding> {
    let target = client.target().clone();
    let shown = target.shown();
    if let Some(reason) = client.unusable() {
        return Err(Finding::failure("TLS", reason.to_string()));
    }
    let addresses = resolved(&target).await.map_err(|why| Finding::failure("receiver's name", why))?;
    let known: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.push(Finding::ok("receiver's name", format!("{shown} is at {}", known.join(", "))));
    let (address, took) =
        connected(&addresses, target.timeout).await.map_err(|why| Finding::failure("connection", why))?;
    findings.push(Finding::ok("connection", format!("to {address} in {}", milliseconds(took))));
    match &target.tls {
        None => findings.push(Finding::ok("TLS", "not used")),
        Some(_) => findings.push(tls(&target, address).await.map_err(|why| Finding::failure("TLS", why))?),
    }
    let failed = |why: String| Finding::failure("export", format!("to {shown} failed: {why}"));
    let protocol = match target.protocol {
        Protocol::Grpc => "gRPC",
        Protocol::HttpProtobuf => "HTTP",
    };
    let limit = target.timeout;
    let message = without_figures(resource, target.compression);
    export(&mut client, &message, limit).await.map_err(|error| failed(error.to_string()))?;
    // The first one made the connection.
    let took = export(&mut client, &message, limit).await.map_err(|error| failed(error.to_string()))?;
    let found = format!("one without figures is accepted over {protocol}, round trip {}", milliseconds(took));
    findings.push(Finding::ok("export", found));
    Ok(())
}

async fn resolved(target: &Target) -> Result<Vec<SocketAddr>, String> {
    let host = target.endpoint.host().unwrap_or_default();
    let port = target.endpoint.port_u16().unwrap_or(if target.tls.is_some() { 443 } else { 80 });
    // As it stands in a URL, an address of IPv6 is in brackets.
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let found = timeout(target.timeout, lookup_host((plain, port))).await;
    let advice = "check the name in --endpoint or --agent-host, and this machine's resolver";
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(format!("{host} can't be resolved: {error}; {advice}")),
        Err(_) => return Err(format!("nobody says within {:?} where {host} is; {advice}", target.timeout)),
    };
    if addresses.is_empty() { Err(format!("{host} has no address; {advice}")) } else { Ok(addresses) }
}

/// The first address at which somebody listens.
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

async fn tls(target: &Target, address: SocketAddr) -> Result<Finding, String> {
    let shown = timeout(target.timeout, handshake(target, address)).await;
    let shown =
        shown.unwrap_or(Err(ExportError::Timeout(target.timeout))).map_err(|error| error.to_string())?;
    let Some(until) = shown.valid_until else { return Ok(Finding::ok("TLS", shown.version)) };
    let words = humantime::format_rfc3339_seconds(until);
    let found = format!("{}, the receiver's certificate is valid until {words}", shown.version);
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    Ok(if left < SOON {
        Finding::warning("TLS", found, "have it renewed: afterwards exports fail")
    } else {
        Finding::ok("TLS", found)
    })
}

/// A request that says who sends, and nothing else. One of no bytes is none to some receivers.
fn without_figures(resource: Resource, compression: Compression) -> Message {
    let of_resource = ResourceMetrics { resource: Some(resource), ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![of_resource] };
    Message::new(&request.encode_to_vec(), compression)
}

/// How long it took.
async fn export(client: &mut Client, message: &Message, limit: Duration) -> Result<Duration, ExportError> {
    let began = Instant::now();
    let sent = timeout(limit, client.send(message, began + limit)).await;
    sent.unwrap_or(Err(ExportError::Timeout(limit))).map(|_| began.elapsed())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", 1e3 * time.as_secs_f64())
}
