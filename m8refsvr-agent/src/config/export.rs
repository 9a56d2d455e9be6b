//! The settings of exports: the receiver, and what is sent to it. A pure function of flags and variables: files with
//! certificates are read where they are used.

use std::ffi::OsString;

use http::uri::Scheme;

use super::{
    endpoint::{self, Security},
    error::ExportSettingsError,
    export_env::ExportEnv,
};
use crate::{
    cli::{self, Origins, ProcessAttributes},
    export::otlp::{Files, Names, Overrides, Place, Protocol, Proxy, Receiver, Resource, resource},
    proc::{process_attributes::AttributeSet, system::Host},
};

/// What is exported, and where to.
#[derive(Clone, Debug)]
pub struct Export {
    /// The receiver, and how it is reached.
    pub receiver: Receiver,
    /// Whether metrics are exported.
    pub metrics: bool,
    /// The variable, with its value, by which no metrics are exported.
    pub off_by: Option<&'static str>,
    /// Whether process exits are exported, as log records.
    pub exits: bool,
    /// The conventions whose names metrics have.
    pub names: Names,
    /// With series for each process: of how many processes at most.
    pub max_series_processes: Option<usize>,
    /// Where the attributes that identify these processes are.
    pub identity: Place,
    /// Which attributes of processes are read.
    pub attributes: AttributeSet,
    /// The resource of the agent itself.
    pub resource: Resource,
    /// The headers for the log: their values are masked.
    pub masked_headers: String,
    /// Remarks for the user: settings without effect, and defaults that may surprise.
    pub remarks: Vec<String>,
}

impl Export {
    /// From the command line and the environment.
    pub fn new(
        cli: &cli::Export,
        origins: &Origins,
        host: &Host,
        patterns: &[String],
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ExportSettingsError> {
        let env = ExportEnv(variable);
        let protocol = match cli.protocol {
            cli::Protocol::Grpc => Protocol::Grpc,
            cli::Protocol::HttpProtobuf => Protocol::HttpProtobuf,
        };
        let security = Security::new(cli, origins, &env)?;
        let (endpoint, remark) =
            endpoint::of_receiver(cli, origins, &security, protocol == Protocol::HttpProtobuf)?;
        let mut remarks: Vec<String> = remark.into_iter().collect();
        let files = files(cli, origins)?;
        let uses_tls = endpoint.scheme() == Some(&Scheme::HTTPS);
        if !uses_tls && files != Files::default() {
            remarks.push(
                "certificates are given, but nothing is sent by TLS: give --tls, or an https:// URL".into(),
            );
        }
        let (off_by, misunderstood) = env.off_by()?;
        let is_disabled = off_by.is_some_and(|off_by| off_by.starts_with("OTEL_SDK_DISABLED"));
        let exits = env.exits()?;
        let exits = !is_disabled && (cli.export_exits || exits == Some(true));
        remarks.extend(misunderstood);
        remarks.extend(needs_per_process(cli));
        if cli.per_process && cli.names == cli::Names::Instana {
            remarks.push("without effect with --names instana: --per-process".into());
        }
        let mut ignored = env.ignored(exits);
        if let Some((name, is_insecure)) = security.insecure
            && is_insecure == uses_tls
        {
            let decides =
                if cli.tls.is_some() { origins.name("tls") } else { "the endpoint's scheme".into() };
            ignored.push(format!("{name} ({decides} decides)"));
        }
        if !ignored.is_empty() {
            remarks.push(format!("variables without effect: {}", ignored.join(", ")));
        }
        let (headers, masked_headers) = env.headers()?;
        let log_headers = env.log_headers(&headers)?;
        let attributes = env.get("OTEL_RESOURCE_ATTRIBUTES")?;
        let service_name = env.get("OTEL_SERVICE_NAME")?;
        let receiver = Receiver {
            protocol,
            proxy: Proxy::of(&endpoint, &env.0)?,
            endpoint,
            tls: uses_tls.then_some(files),
            log_headers,
            headers,
            compression: env.compression()?,
            timeout: env.timeout()?,
        };
        if exits && !receiver.has_usual_path() {
            remarks.push(
                "log records of exits are sent to /v1/logs: the path for metrics is not /v1/metrics".into(),
            );
        }
        Ok(Self {
            receiver,
            metrics: off_by.is_none(),
            off_by,
            exits,
            names: Names { otel: cli.names != cli::Names::Instana, instana: cli.names != cli::Names::Otel },
            max_series_processes: cli.per_process.then_some(cli.max_series_processes as usize),
            identity: match cli.process_attributes {
                ProcessAttributes::Resource => Place::Resource,
                ProcessAttributes::Point => Place::Points,
            },
            attributes: match (cli.per_process, cli.with_command_line) {
                (false, _) => AttributeSet::None,
                (true, false) => AttributeSet::Standard,
                (true, true) => AttributeSet::WithCommandLine,
            },
            resource: resource(
                host,
                patterns,
                Overrides {
                    attributes: attributes.as_deref(),
                    service_name: service_name.as_deref(),
                    instance: cli.instance.as_deref(),
                },
            )?,
            masked_headers,
            remarks,
        })
    }
}

impl Export {
    /// A sentence where nothing at all is exported, with the variable by which.
    pub fn nothing_leaves(&self) -> Option<String> {
        let off_by = self.off_by.filter(|_| !self.exits)?;
        Some(format!("nothing is exported: {off_by}"))
    }
}

/// A remark about flags that have an effect only with `--per-process`.
fn needs_per_process(cli: &cli::Export) -> Option<String> {
    let with_command_line = cli.with_command_line.then_some("--with-command-line");
    let point = (cli.process_attributes == ProcessAttributes::Point).then_some("--process-attributes point");
    let given: Vec<&str> = with_command_line.into_iter().chain(point).collect();
    let is_without_effect = !cli.per_process && !given.is_empty();
    is_without_effect.then(|| format!("without effect as --per-process is not given: {}", given.join(", ")))
}

/// The files for TLS. A client certificate and its key are given both, or none of them.
fn files(cli: &cli::Export, origins: &Origins) -> Result<Files, ExportSettingsError> {
    let half = |there, missing| {
        let (given, missing) = (origins.name(there), origins.name_beside(there, missing));
        Err(ExportSettingsError::HalfPair { given, missing })
    };
    let client = match (&cli.client_cert, &cli.client_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        (Some(_), None) => return half("client_cert", "client_key"),
        (None, Some(_)) => return half("client_key", "client_cert"),
    };
    Ok(Files { authorities: cli.ca_cert.clone(), client })
}
