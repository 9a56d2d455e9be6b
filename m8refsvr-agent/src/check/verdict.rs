//! What all findings together say, in one sentence.

use super::finding::{Finding, Mark};

/// What becomes of exports.
#[derive(Clone, Debug)]
pub enum Exported {
    /// They go there.
    To(String),
    /// Nothing is exported, and why.
    Nothing(String),
}

/// The sentence: that the agent is ready, or what is missing. `matching` says how many processes match which names.
pub fn verdict(findings: &[Finding], matching: &str, exported: &Exported) -> String {
    let of = |mark| findings.iter().filter(move |finding| finding.mark == mark);
    let warnings = of(Mark::Warning).count();
    let warnings = (warnings > 0).then(|| counted(warnings, "warning"));
    if let Some(first) = of(Mark::Failure).next() {
        let counts: Vec<String> =
            [Some(counted(of(Mark::Failure).count(), "failure")), warnings].into_iter().flatten().collect();
        return format!("not ready ({}): {}: {}", counts.join(", "), first.check, first.found);
    }
    let exports = match exported {
        Exported::To(place) => format!("exports reach {place}"),
        Exported::Nothing(reason) => reason.clone(),
    };
    let warnings = warnings.map(|warnings| format!(" ({warnings})")).unwrap_or_default();
    format!("ready: {matching}, {exports}{warnings}")
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_says_what_works_or_what_is_missing_first() {
        let to = Exported::To("http://a:4317/".into());
        let mut findings = vec![Finding::ok("kernel", "Linux")];
        let now = |findings: &[Finding]| verdict(findings, "2 processes match", &to);
        assert_eq!(now(&findings), "ready: 2 processes match, exports reach http://a:4317/");
        findings.push(Finding::warning("clock", "wrong", "set it"));
        assert_eq!(now(&findings), "ready: 2 processes match, exports reach http://a:4317/ (1 warning)");
        findings.push(Finding::failure("connection", "refused"));
        findings.push(Finding::failure("other", "also"));
        assert_eq!(now(&findings), "not ready (2 failures, 1 warning): connection: refused");
        let nothing = Exported::Nothing("nothing is exported: A=b".into());
        assert_eq!(
            verdict(&[], "no process matches", &nothing),
            "ready: no process matches, nothing is exported: A=b"
        );
    }
}
