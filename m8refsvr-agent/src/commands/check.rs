//! `check`: tries what the agent needs, and prints a verdict, a line of each, and the settings in force.

use std::{ffi::OsString, process::ExitCode};

use serde::Serialize;

use super::{
    check_text::{Style, lines, table},
    failure::{BROKEN, EXPORT_FAILED, KERNEL_FAILED, WRONG, WrongUsage, in_words},
    output::{json, print},
    setup::{named, proc_of},
};
use crate::{
    check::{
        Exported, Exports, Finding, Mark, Processes, hooks, host, processes, receiver, service::Service,
        settings::in_force, verdict,
    },
    cli::{self, Check, Origin, Parsed, Setting},
    config::{ExportSettingsError, Settings, export::Export},
    export::otlp::{Client, Proxy, TlsError},
    proc::system::Host,
};

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    is_ready: bool,
    verdict: &'a str,
    settings: Summary,
    checks: &'a [Finding],
    in_force: &'a [Setting],
}

/// What matters most of the settings.
#[derive(Serialize)]
struct Summary {
    process: Vec<String>,
    interval_seconds: f64,
    /// Absent where the settings are wrong.
    #[serde(flatten)]
    receiver: Option<Receiver>,
}

#[derive(Serialize)]
struct Receiver {
    endpoint: String,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
}

impl Summary {
    fn new(settings: &Settings, export: Option<&Export>) -> Self {
        let receiver = |Export { receiver, .. }: &Export| Receiver {
            endpoint: receiver.shown(),
            protocol: receiver.protocol.name(),
            proxy: receiver.proxy.as_ref().map(Proxy::shown),
        };
        Self {
            process: settings.selector.patterns().map(str::to_owned).collect(),
            interval_seconds: settings.interval.as_secs_f64(),
            receiver: export.map(receiver),
        }
    }

    fn in_words(&self) -> String {
        let names = self.process.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        let to = self.receiver.as_ref().map(|Receiver { endpoint, protocol, proxy }| {
            let through = proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}"));
            format!(", to {endpoint} by {protocol}{}", through.unwrap_or_default())
        });
        let (interval, to) = (self.interval_seconds, to.unwrap_or_default());
        format!("processes matching {names}, every {interval} s{to}")
    }
}

const SETTINGS: &str = "settings";

/// Flags that say what `check` itself writes to its log, not what it checks.
const OWN_LOG: [&str; 2] = ["--log-level", "--log-format"];

/// Tries everything. The exit code is the one that the agent would have for the first failure.
pub(super) async fn check(parsed: &Parsed, flags: &Check) -> anyhow::Result<ExitCode> {
    if !flags.service {
        return with(parsed, flags, None, cli::variable).await;
    }
    let is_own =
        |setting: &&Setting| setting.origin == Origin::Flag && !OWN_LOG.contains(&setting.name.as_str());
    if let Some(own) = parsed.settings.iter().find(is_own) {
        let words = format!("--service takes all settings from the service: leave out {}", own.name);
        return Err(WrongUsage(words).into());
    }
    let service = Service::installed().map_err(|error| WrongUsage(error.to_string()))?;
    let of_service =
        cli::parse_from(service.arguments.clone(), |name| service.variable(name)).map_err(|error| {
            WrongUsage(format!("the settings of the service are wrong: {}", error.to_string().trim()))
        })?;
    with(&of_service, flags, Some(service.finding()), |name| service.variable(name)).await
}

async fn with(
    parsed: &Parsed,
    flags: &Check,
    service: Option<Finding>,
    variable: impl Fn(&str) -> Option<OsString> + Copy,
) -> anyhow::Result<ExitCode> {
    let settings = Settings::new(&parsed.cli, &parsed.origins, variable)?;
    let export =
        Export::new(&parsed.cli.export, &parsed.origins, &Host::this(), &settings.selection(), variable);
    let proc = proc_of(&settings)?;
    let summary = Summary::new(&settings, export.as_ref().ok());
    let remarks = parsed.warnings.iter().cloned().chain(remarks(export.as_ref().ok()));
    let remarks: Vec<Finding> = remarks.map(|remark| Finding::remark(SETTINGS, remark)).collect();
    let exported = exported(export.as_ref().ok());
    let is_service = service.is_some();

    let mut parts = vec![(BROKEN, host(&proc, &settings.bpf_fs)), (KERNEL_FAILED, hooks(&settings))];
    let Processes { matching, findings } = processes(proc, settings.selector.clone());
    parts.push((BROKEN, findings));
    parts.push(exports(export, &settings).await);
    let failed = |findings: &[Finding]| findings.iter().any(|finding| finding.mark == Mark::Failure);
    let code =
        parts.iter().find_map(|(code, findings)| failed(findings).then_some(*code)).unwrap_or_default();
    let first = service.into_iter().chain(remarks);
    let mut findings: Vec<Finding> =
        first.chain(parts.into_iter().flat_map(|(_, findings)| findings)).collect();
    let verdict = verdict(&findings, &matching, &exported);
    let in_force = in_force(&parsed.settings, variable);
    print(&if flags.json {
        json(&Answer {
            is_ready: code == 0,
            verdict: &verdict,
            settings: summary,
            checks: &findings,
            in_force: &in_force,
        })?
    } else {
        findings.insert(0, Finding::ok(SETTINGS, summary.in_words()));
        let style = Style::of_stdout(flags.color);
        let whose = if is_service {
            "the service"
        } else {
            "this call; `check --service` tries the installed service"
        };
        let (lines, table) = (lines(&findings, style), table(&in_force));
        format!("{}\n\n{lines}\nSettings of {whose}:\n{table}", style.verdict(&verdict, code == 0))
    })?;
    Ok(ExitCode::from(code))
}

/// What is odd about the settings.
fn remarks(export: Option<&Export>) -> Vec<String> {
    let Some(export) = export else { return Vec::new() };
    // Where exits are not exported either, the receiver's line says it.
    let off_by = export.off_by.filter(|_| export.exits);
    let off_by = off_by.map(|off_by| format!("no metrics are exported: {off_by}"));
    export.remarks.iter().cloned().chain(off_by).collect()
}

fn exported(export: Option<&Export>) -> Exported {
    match export.map(|export| (export.nothing_leaves(), export.receiver.shown())) {
        Some((None, place)) => Exported::To(place),
        Some((Some(nothing), _)) => Exported::Nothing(nothing),
        None => Exported::Nothing("nothing is exported".into()),
    }
}

/// The way to the receiver, with the exit code for its failures.
async fn exports(export: Result<Export, ExportSettingsError>, settings: &Settings) -> (u8, Vec<Finding>) {
    let export = match export {
        Ok(export) => export,
        Err(error) => return (WRONG, vec![Finding::failure("receiver", error.to_string())]),
    };
    if let Some(nothing) = export.nothing_leaves() {
        return (EXPORT_FAILED, vec![Finding::remark("receiver", format!("not tried, as {nothing}"))]);
    }
    match clients(&export) {
        Ok(exports) => (EXPORT_FAILED, receiver(exports, export.resource).await),
        Err(error) => (WRONG, vec![Finding::failure("TLS", in_words(&named(settings, error)))]),
    }
}

/// What exports, as in the running agent.
fn clients(export: &Export) -> Result<Exports, TlsError> {
    let logs = export.exits.then(|| Client::for_logs(&export.receiver, &export.resource));
    Ok(Exports {
        client: Client::new(export.receiver.clone())?,
        metrics: export.metrics,
        logs: logs.transpose()?,
    })
}
