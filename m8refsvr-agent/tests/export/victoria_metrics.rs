//! VictoriaMetrics, a receiver of OTLP over HTTP that stores: what it has is asked of it, not read from its output.

use std::{collections::BTreeMap, process::Command};

use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    Need, send,
    server::{self, Ports, Server, loopback},
};

/// A running server with an empty store; both end when it is dropped.
pub(crate) struct VictoriaMetrics {
    port: u16,
    // Ended before its store is removed.
    _server: Server,
    _storage: TempDir,
}

/// All samples of a time series, the oldest first.
#[derive(Debug, Deserialize)]
pub(crate) struct Series {
    #[serde(rename = "metric")]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) values: Vec<f64>,
    /// In milliseconds after 1970.
    pub(crate) timestamps: Vec<u64>,
}

impl VictoriaMetrics {
    pub(crate) fn start() -> Self {
        server::on_free_ports(|Ports { http: port, .. }| {
            let program = Need::VictoriaMetrics.path().unwrap();
            let storage = tempfile::tempdir().unwrap();
            let mut command = Command::new(&program);
            command
                .env_clear()
                .env("LD_LIBRARY_PATH", program.parent().unwrap().join("../lib/x86_64-linux-gnu"))
                .arg(format!("-httpListenAddr={}", loopback(port)))
                .arg(format!("-storageDataPath={}", storage.path().display()))
                .arg("-memory.allowedBytes=64MB");
            let server = Server::start(&mut command, Ports { grpc: port, http: port }, |_| false)?;
            Ok(Self { port, _server: server, _storage: storage })
        })
    }

    /// What an exporter is to be given.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}/opentelemetry", loopback(self.port))
    }

    /// All series of a metric, with every sample that was received before.
    pub(crate) fn series(&self, metric: &str) -> Vec<Series> {
        // Samples are searched only after some seconds otherwise.
        send::get(self.port, "/internal/force_flush");
        // Otherwise those of the running second are left out.
        let end = "2100-01-01T00:00:00Z";
        let answer = send::get(self.port, &format!("/api/v1/export?match%5B%5D={metric}&end={end}"));
        answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
