//! `check`: tries what the agent needs, and says a line of each.

use std::{fmt::Write as _, process::ExitCode};

use serde::Serialize;

use super::{
    failure::{BROKEN, EXPORT_FAILED, KERNEL_FAILED, WRONG, in_words},
    output::{json, print},
    setup::{named, proc_of},
};
use crate::{
    check::{Exports, Finding, Mark, hooks, host, processes, receiver},
    config::{ExportSettingsError, Settings, export::Export},
    export::otlp::{Client, Proxy, TlsError},
    logging::escape::in_line,
};

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    is_ready: bool,
    settings: InForce,
    checks: &'a [Finding],
}

/// The settings with which everything is tried: those of the service may be others.
#[derive(Serialize)]
struct InForce {
    process: Vec<String>,
    interval_seconds: f64,
    /// Absent where they are wrong.
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

impl InForce {
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

    /// In words.
    fn shown(&self) -> String {
        let names = self.process.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
        let to = self.receiver.as_ref().map(|Receiver { endpoint, protocol, proxy }| {
            let through = proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}"));
            format!(", to {endpoint} by {protocol}{}", through.unwrap_or_default())
        });
        let (interval, to) = (self.interval_seconds, to.unwrap_or_default());
        format!(
            "processes matching {names}, every {interval} s{to}; by flags and variables: agent.env is not read by itself"
        )
    }
}

const SETTINGS: &str = "settings";

/// Tries everything, and ends with the exit code that the first failure would have been to the agent.
pub(super) async fn check(
    settings: Settings,
    export: Result<Export, ExportSettingsError>,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let proc = proc_of(&settings)?;
    let in_force = InForce::new(&settings, export.as_ref().ok());
    let remarks = export.as_ref().map(|export| {
        // Without exits, the receiver's line says it.
        let off_by = export.off_by.filter(|_| export.exits);
        let off_by = off_by.map(|off_by| format!("no metrics are exported: {off_by}"));
        export.remarks.iter().cloned().chain(off_by).collect::<Vec<_>>()
    });
    let remarks = remarks.unwrap_or_default();
    let mut parts = vec![(BROKEN, host(&proc, &settings.bpf_fs))];
    parts.push((KERNEL_FAILED, hooks(&settings)));
    parts.push((BROKEN, processes(proc, settings.selector.clone())));
    parts.push(match export {
        Ok(export) if export.nothing_leaves().is_some() => {
            let nothing = export.nothing_leaves().unwrap_or_default();
            (EXPORT_FAILED, vec![Finding::remark("receiver", format!("not tried, as {nothing}"))])
        }
        Ok(export) => match exports(&export) {
            Ok(exports) => (EXPORT_FAILED, receiver(exports, export.resource).await),
            Err(error) => (WRONG, vec![Finding::failure("TLS", in_words(&named(&settings, error)))]),
        },
        Err(error) => (WRONG, vec![Finding::failure("receiver", error.to_string())]),
    });
    let failed = |findings: &[Finding]| findings.iter().any(|finding| finding.mark == Mark::Failure);
    let code =
        parts.iter().find_map(|(code, findings)| failed(findings).then_some(*code)).unwrap_or_default();
    let remarks = remarks.into_iter().map(|remark| Finding::remark(SETTINGS, remark));
    let mut findings: Vec<Finding> =
        remarks.chain(parts.into_iter().flat_map(|(_, findings)| findings)).collect();
    print(&if as_json {
        json(&Answer { is_ready: code == 0, settings: in_force, checks: &findings })?
    } else {
        findings.insert(0, Finding::ok(SETTINGS, in_force.shown()));
        lines(&findings)
    })?;
    Ok(ExitCode::from(code))
}

/// What is exported, as the running agent would.
fn exports(export: &Export) -> Result<Exports, TlsError> {
    let logs = export.exits.then(|| Client::for_logs(&export.receiver, &export.resource));
    Ok(Exports {
        client: Client::new(export.receiver.clone())?,
        metrics: export.metrics,
        logs: logs.transpose()?,
    })
}

/// A line for each.
fn lines(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    findings.iter().fold(String::new(), |mut text, Finding { check, mark, found, advice }| {
        let advice = advice.iter().map(|advice| format!("; {advice}")).collect::<String>();
        let line = format!("{}  {check:width$}  {found}{advice}", mark.word());
        // One line, whatever somebody else wrote into it.
        let line = in_line(&line);
        // A string takes everything.
        let _ = writeln!(text, "{line}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_one_line_with_what_to_do_behind_it() {
        let finding = |mark, found: &str, advice: Option<&str>| Finding {
            check: "thing",
            mark,
            found: found.into(),
            advice: advice.map(str::to_owned),
        };
        let findings = [
            finding(Mark::Ok, "fine", None),
            finding(Mark::Warning, "odd\nok       other", Some("mend it")),
            finding(Mark::Failure, "\u{1b}[31mbroken", None),
        ];
        let text = "ok       thing  fine\nwarning  thing  odd\\nok       other; mend it\nFAILURE  thing  \\u{1b}[31mbroken\n";
        assert_eq!(lines(&findings), text);
    }
}
