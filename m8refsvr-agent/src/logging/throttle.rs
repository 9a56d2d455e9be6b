//! Something that goes wrong for a while: said when it begins, once a while with how often, and when it ends, but not
//! each time. Decides what is said; a parameter tells the time.

use std::time::{Duration, Instant};

/// Between two reminders.
const REMINDER: Duration = Duration::from_secs(10 * 60);

/// From its beginning to its end.
#[derive(Debug, Default)]
pub struct Throttle {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    began: Instant,
    said_at: Instant,
    /// What was already said since the last reminder.
    said: Vec<String>,
    times: u64,
}

/// What is to be said of one that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// That it happened.
    Once,
    /// That it goes on.
    Still {
        /// How often it happened.
        times: u64,
        /// For how long.
        lasted: Duration,
    },
}

impl Throttle {
    /// It happened, for this reason; whether and what is to be said of it. A reason that is new is said at once.
    pub fn happened(&mut self, now: Instant, reason: &str) -> Option<Say> {
        let Some(running) = &mut self.running else {
            self.running = Some(Running { began: now, said_at: now, said: vec![reason.into()], times: 1 });
            return Some(Say::Once);
        };
        running.times += 1;
        if now.saturating_duration_since(running.said_at) >= REMINDER {
            running.said_at = now;
            running.said = vec![reason.into()];
            let lasted = now.saturating_duration_since(running.began);
            return Some(Say::Still { times: running.times, lasted });
        }
        if running.said.len() < 8 && !running.said.iter().any(|said| said == reason) {
            running.said.push(reason.into());
            return Some(Say::Once);
        }
        None
    }

    /// It is over; how often it had happened and for how long, if it had.
    pub fn over(&mut self, now: Instant) -> Option<(u64, Duration)> {
        self.running.take().map(|running| (running.times, now.saturating_duration_since(running.began)))
    }
}

/// A length of time for people.
pub fn in_words(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_its_beginning_now_and_then_and_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut episode = Throttle::default();
        assert_eq!(episode.over(start), None);
        assert_eq!(episode.happened(start, "refused"), Some(Say::Once));
        assert_eq!(episode.happened(at(1), "refused"), None);
        assert_eq!(episode.happened(at(2), "timeout"), Some(Say::Once));
        assert_eq!(episode.happened(at(3), "timeout"), None);
        assert_eq!(episode.happened(at(4), "refused"), None);
        assert_eq!(
            episode.happened(at(600), "refused"),
            Some(Say::Still { times: 6, lasted: Duration::from_secs(600) })
        );
        assert_eq!(episode.happened(at(601), "refused"), None);
        assert_eq!(episode.over(at(700)), Some((7, Duration::from_secs(700))));
        assert_eq!(episode.over(at(700)), None);
        assert_eq!(episode.happened(at(800), "refused"), Some(Say::Once));
    }

    #[test]
    fn reasons_that_are_always_new_are_not_said_without_end() {
        let now = Instant::now();
        let mut episode = Throttle::default();
        let said = (0..1000).filter(|n| episode.happened(now, &n.to_string()).is_some()).count();
        assert_eq!(said, 8);
    }
}
