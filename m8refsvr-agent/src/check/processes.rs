//! The processes that match, and what of them can be read. One collection, with /proc alone.

use super::finding::Finding;
use crate::{
    collector::Collector,
    model::counters::Counter,
    model::sample::ProcessSample,
    proc::{Proc, status::real_user, system::user_name},
    tracker::selector::Selector,
};

const CHECK: &str = "process";
/// More than these are one line.
const SHOWN: usize = 20;

/// The processes that match.
#[derive(Debug)]
pub struct Processes {
    /// How many match, in words.
    pub matching: String,
    pub findings: Vec<Finding>,
}

/// Finds the processes that `selector` selects in `proc`.
pub fn processes(proc: Proc, selector: Selector) -> Processes {
    let words = selector.in_words();
    let mut collector = Collector::new(proc, selector, None);
    let sample = match collector.collect() {
        Ok(sample) => sample,
        Err(error) => {
            let failure = Finding::failure(CHECK, format!("cannot read /proc: {error}"));
            return Processes { matching: "/proc can't be read".into(), findings: vec![failure] };
        }
    };
    let matching = match sample.processes.len() {
        0 => format!("no process matches {words} yet"),
        1 => "1 process matches".to_owned(),
        count => format!("{count} processes match"),
    };
    if sample.processes.is_empty() {
        let found = format!("No processes found matching {words}");
        let advice =
            "the agent runs on and waits for them; if they run already, give their name by --process";
        return Processes { matching, findings: vec![Finding::warning(CHECK, found, advice)] };
    }
    let mut findings: Vec<Finding> =
        sample.processes.iter().take(SHOWN).map(|process| finding(collector.proc(), process)).collect();
    let others = sample.processes.len().saturating_sub(SHOWN);
    if others > 0 {
        findings.push(Finding::ok(CHECK, format!("{others} more match")));
    }
    Processes { matching, findings }
}

fn finding(proc: &Proc, process: &ProcessSample) -> Finding {
    let user = proc.process(process.identity.pid).and_then(|it| real_user(&it, &mut Vec::new()));
    let user = match user {
        Ok(id) => user_name(id).unwrap_or_else(|| id.to_string()),
        Err(_) => "an unknown user".to_owned(),
    };
    let found = format!("{} {} of {user}", process.identity.pid, process.name);
    let unreadable: Vec<&str> = [
        (process.counters.get(Counter::StorageRead).is_some(), "io"),
        (process.open_files.is_some(), "fd"),
        (process.executable.is_some(), "exe"),
    ]
    .into_iter()
    .filter_map(|(is_readable, what)| (!is_readable).then_some(what))
    .collect();
    if unreadable.is_empty() {
        return Finding::ok(CHECK, format!("{found}: io, fd and exe can be read"));
    }
    let found = format!("{found}: {} can't be read", unreadable.join(", "));
    Finding::warning(CHECK, found, "other users' processes need CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
}
