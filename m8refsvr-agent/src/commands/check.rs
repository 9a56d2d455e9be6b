//! `check`: tries what the agent needs, and says a line of each.

use std::{fmt::Write as _, process::ExitCode};

use serde::Serialize;

use super::{BROKEN, EXPORT_FAILED, Failure, KERNEL_FAILED, WRONG, json, print, proc_of};
use crate::{
    check::{Finding, Mark, hooks, machine, processes, receiver},
    export::otlp::Client,
    settings::{
        Settings,
        export::{Export, ExportSettingsError},
    },
    shown::in_line,
};

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    is_ready: bool,
    checks: &'a [Finding],
}

/// Tries everything, and ends with the exit code that the first failure would have been to the agent.
pub(super) async fn check(
    settings: Settings,
    export: Result<Export, ExportSettingsError>,
    as_json: bool,
) -> Result<ExitCode, Failure> {
    let proc = proc_of(&settings)?;
    let mut parts = vec![(BROKEN, machine(&proc, &settings.bpf_fs))];
    parts.push((KERNEL_FAILED, hooks(&settings)));
    parts.push((BROKEN, processes(proc, settings.selector.clone())));
    parts.push(match export {
        Ok(export) => match Client::new(export.target) {
            Ok(client) => (EXPORT_FAILED, receiver(client, export.resource).await),
            Err(error) => (WRONG, vec![Finding::failure("TLS", error.to_string())]),
        },
        Err(error) => (WRONG, vec![Finding::failure("receiver", error.to_string())]),
    });
    let failed = |findings: &[Finding]| findings.iter().any(|finding| finding.mark == Mark::Failure);
    let code =
        parts.iter().find_map(|(code, findings)| failed(findings).then_some(*code)).unwrap_or_default();
    let findings: Vec<Finding> = parts.into_iter().flat_map(|(_, findings)| findings).collect();
    print(&if as_json {
        json(&Answer { is_ready: code == 0, checks: &findings })?
    } else {
        lines(&findings)
    })?;
    Ok(ExitCode::from(code))
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
