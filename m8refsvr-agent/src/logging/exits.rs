//! Exits of processes as lines of the log: one for each, but at most [`MOST`] within [`WINDOW`]. Decides what is
//! logged; the time is a parameter.

use std::time::{Duration, Instant};

use tracing::Level;

use super::units;
use crate::model::exit::{EndKind, Exit, ProcessEnd, signal_name};

/// Lines within [`WINDOW`]. More exits are counted, and logged as one line.
const MOST: usize = 20;

const WINDOW: Duration = Duration::from_secs(60);

/// Which exits were logged already.
#[derive(Debug)]
pub struct ExitLog {
    /// How many exits since the last collection were taken in.
    taken: usize,
    logged: usize,
    left_out: usize,
    /// Failures among those that were left out.
    left_out_failures: usize,
    since: Instant,
}

/// A line of the log.
#[derive(Debug)]
pub struct Line<'a> {
    sentence: String,
    is_warning: bool,
    /// `None` for the line about those that were left out.
    exit: Option<(&'a ProcessEnd, Exit)>,
}

impl ExitLog {
    /// Nothing is logged yet.
    pub fn new(now: Instant) -> Self {
        Self { taken: 0, logged: 0, left_out: 0, left_out_failures: 0, since: now }
    }

    /// Of all that ended since the last collection, the exits that earlier calls did not return.
    pub fn new_exits<'a>(&mut self, ends: &'a [ProcessEnd]) -> Vec<&'a ProcessEnd> {
        let exits = ends.iter().filter(|end| matches!(end.how, EndKind::Exited(_)));
        let new: Vec<&ProcessEnd> = exits.skip(self.taken).collect();
        self.taken += new.len();
        new
    }

    /// The lines for these exits.
    pub fn lines<'a>(&mut self, exits: &[&'a ProcessEnd], now: Instant) -> Vec<Line<'a>> {
        let mut lines = Vec::new();
        if now.saturating_duration_since(self.since) >= WINDOW {
            lines.extend(self.left_out());
            (self.logged, self.since) = (0, now);
        }
        for &end in exits {
            let EndKind::Exited(exit) = end.how else { continue };
            if self.logged < MOST {
                self.logged += 1;
                let sentence = sentence(end, exit);
                lines.push(Line { sentence, is_warning: exit.is_failure(), exit: Some((end, exit)) });
            } else {
                self.left_out += 1;
                self.left_out_failures += usize::from(exit.is_failure());
            }
        }
        lines
    }

    /// A collection is complete, and has taken in all exits.
    pub fn end_collection(&mut self) {
        self.taken = 0;
    }

    /// The line about the exits that were left out, if there are any.
    pub fn left_out(&mut self) -> Option<Line<'static>> {
        let left_out = std::mem::take(&mut self.left_out);
        let failures = std::mem::take(&mut self.left_out_failures);
        let sentence = match failures {
            0 => format!("{left_out} more processes exited"),
            _ => format!("{left_out} more processes exited, {failures} of them by an error or a signal"),
        };
        (left_out > 0).then_some(Line { sentence, is_warning: failures > 0, exit: None })
    }
}

impl Line<'_> {
    /// Logs the line. In JSON its values are fields, with the names of the attributes of exit events.
    pub fn log(&self) {
        macro_rules! log {
            ($level:expr) => {
                match self.exit {
                    Some((end, exit)) => tracing::event!(
                        $level,
                        process.pid = end.identity.pid,
                        process.executable.name = &**end.executable.as_ref().unwrap_or(&end.name),
                        process.exit.code = exit.status_code(),
                        m8refsvr.exit.reason = exit.reason(),
                        m8refsvr.exit.signal = exit.signal(),
                        m8refsvr.exit.core_dumped = exit.signal().map(|_| exit.core_dumped()),
                        m8refsvr.exit.run_time = end.lasted.as_secs_f64(),
                        m8refsvr.exit.peak_rss = end.peak_bytes,
                        "{}",
                        self.sentence
                    ),
                    None => tracing::event!($level, "{}", self.sentence),
                }
            };
        }
        if self.is_warning {
            log!(Level::WARN);
        } else {
            log!(Level::INFO);
        }
    }
}

/// The sentence about the exit of a process.
pub fn sentence(end: &ProcessEnd, exit: Exit) -> String {
    let what = match exit {
        Exit::Code(0) => "exited normally".into(),
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal { number, core_dumped } => {
            let core = if core_dumped { " (core dumped)" } else { "" };
            format!("was killed by {}{core}", signal_name(number))
        }
        Exit::Oom => "was killed by the OOM killer".into(),
        Exit::Unknown => "exited for an unknown reason".into(),
    };
    let peak = end.peak_bytes.map(|bytes| format!("; peak RSS {}", units::memory(bytes))).unwrap_or_default();
    let (name, pid, lasted) = (&end.name, end.identity.pid, units::duration(end.lasted));
    format!("{name} (pid {pid}) {what} after {lasted}{peak}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::fixtures::ended;

    fn lines<'a>(log: &mut ExitLog, ends: &'a [ProcessEnd], now: Instant) -> Vec<Line<'a>> {
        let exits = log.new_exits(ends);
        log.lines(&exits, now)
    }

    fn end(pid: u32, exit: Exit) -> ProcessEnd {
        ProcessEnd { how: EndKind::Exited(exit), ..ended(pid, 5, 0) }
    }

    #[test]
    fn an_exit_is_a_sentence() {
        let words = |exit| {
            let lasted = Duration::from_secs(3 * 3600 + 12 * 60 + 7);
            sentence(&ProcessEnd { lasted, peak_bytes: Some(15_300_000_000), ..end(4711, exit) }, exit)
        };
        assert_eq!(
            words(Exit::of_status(9)),
            "M8RefSvr (pid 4711) was killed by SIGKILL after 3 h 12 min; peak RSS 14.2 GiB"
        );
        assert!(words(Exit::of_status(0x8b)).contains(" was killed by SIGSEGV (core dumped) after "));
        assert!(words(Exit::Code(0)).contains("(pid 4711) exited normally after "));
        assert!(words(Exit::Code(3)).contains("(pid 4711) exited with code 3 after "));
        assert!(words(Exit::Oom).contains(" was killed by the OOM killer after "));
        assert!(words(Exit::of_status(35)).contains(" was killed by SIGRTMIN+1 after "));
        assert!(words(Exit::Unknown).contains(" exited for an unknown reason after "));
    }

    #[test]
    fn what_ends_by_an_error_a_signal_or_the_oom_killer_is_a_warning() {
        let now = Instant::now();
        let is_warning = |exit| lines(&mut ExitLog::new(now), &[end(1, exit)], now)[0].is_warning;
        assert!(
            [0, 9, 15, 0x8b].map(|status| is_warning(Exit::of_status(status))) == [false, true, true, true]
        );
        assert_eq!([Exit::Code(3), Exit::Oom, Exit::Unknown].map(is_warning), [true, true, false]);
    }

    #[test]
    fn each_exit_is_a_line_once_whether_a_collection_comes_between_or_not() {
        let now = Instant::now();
        let mut log = ExitLog::new(now);
        let deselected = ProcessEnd { how: EndKind::Deselected, ..ended(2, 5, 0) };
        let ends = [ended(1, 5, 0), deselected, ended(3, 5, 0)];
        assert_eq!(lines(&mut log, &ends[..2], now).len(), 1);
        let line = lines(&mut log, &ends, now);
        assert!(line[0].sentence.starts_with("M8RefSvr (pid 3) exited normally"), "{line:?}");
        assert!(lines(&mut log, &ends, now).is_empty());
        log.end_collection();
        assert_eq!(lines(&mut log, &ends[..1], now).len(), 1);
    }

    #[test]
    fn of_many_the_first_are_logged_and_the_rest_as_one_and_then_again_each() {
        let start = Instant::now();
        let mut log = ExitLog::new(start);
        let mut ends: Vec<ProcessEnd> = (0..100).map(|pid| ended(pid, 5, 0)).collect();
        assert_eq!(lines(&mut log, &ends, start).len(), MOST);
        log.end_collection();
        assert!(lines(&mut log, &ends[..5], start + WINDOW / 2).is_empty());
        log.end_collection();
        {
            let lines = lines(&mut log, &ends[..1], start + WINDOW);
            assert_eq!((lines.len(), lines[0].sentence.as_str()), (2, "85 more processes exited"));
            assert!(!lines[0].is_warning && log.left_out().is_none());
        }
        log.end_collection();
        ends[99] = end(99, Exit::Oom);
        lines(&mut log, &ends, start + WINDOW);
        let rest = log.left_out().unwrap();
        assert!(
            rest.is_warning
                && rest.sentence.ends_with("81 more processes exited, 1 of them by an error or a signal"),
            "{rest:?}"
        );
    }
}
