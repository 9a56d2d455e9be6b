//! Errors that repeat: logged when they begin, every ten minutes with how often they occurred, and when they end.
//! Decides what is logged; the time is a parameter.

use std::time::{Duration, Instant};

/// The time between two reminders.
const REMINDER: Duration = Duration::from_secs(10 * 60);

/// Reasons that are logged between two reminders.
const REASONS: usize = 8;

/// One kind of error, which may be occurring now or not.
#[derive(Debug, Default)]
pub struct Throttle {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    began: Instant,
    reminded: Instant,
    /// The reasons that were logged since the last reminder.
    logged: Vec<String>,
    times: u64,
}

/// What is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The error, for the first time for this reason.
    New,
    /// That it still occurs.
    Ongoing {
        /// How often it occurred.
        times: u64,
        /// For how long.
        lasted: Duration,
    },
}

impl Throttle {
    /// The error occurred. A reason that was not logged yet is logged at once, up to [`REASONS`] of them.
    pub fn occurred(&mut self, now: Instant, reason: &str) -> Option<Notice> {
        let Some(running) = &mut self.running else {
            self.running = Some(Running { began: now, reminded: now, logged: vec![reason.into()], times: 1 });
            return Some(Notice::New);
        };
        running.times += 1;
        if now.saturating_duration_since(running.reminded) >= REMINDER {
            running.reminded = now;
            running.logged = vec![reason.into()];
            let lasted = now.saturating_duration_since(running.began);
            return Some(Notice::Ongoing { times: running.times, lasted });
        }
        if running.logged.len() < REASONS && !running.logged.iter().any(|logged| logged == reason) {
            running.logged.push(reason.into());
            return Some(Notice::New);
        }
        None
    }

    /// The error no longer occurs. How often it had occurred and for how long, if it had.
    pub fn resolved(&mut self, now: Instant) -> Option<(u64, Duration)> {
        self.running.take().map(|running| (running.times, now.saturating_duration_since(running.began)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_logged_at_its_beginning_now_and_then_and_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut throttle = Throttle::default();
        assert_eq!(throttle.resolved(start), None);
        assert_eq!(throttle.occurred(start, "refused"), Some(Notice::New));
        assert_eq!(throttle.occurred(at(1), "refused"), None);
        assert_eq!(throttle.occurred(at(2), "timeout"), Some(Notice::New));
        assert_eq!(throttle.occurred(at(3), "timeout"), None);
        assert_eq!(throttle.occurred(at(4), "refused"), None);
        assert_eq!(
            throttle.occurred(at(600), "refused"),
            Some(Notice::Ongoing { times: 6, lasted: Duration::from_secs(600) })
        );
        assert_eq!(throttle.occurred(at(601), "refused"), None);
        assert_eq!(throttle.resolved(at(700)), Some((7, Duration::from_secs(700))));
        assert_eq!(throttle.resolved(at(700)), None);
        assert_eq!(throttle.occurred(at(800), "refused"), Some(Notice::New));
    }

    #[test]
    fn reasons_that_are_always_new_are_not_logged_without_end() {
        let now = Instant::now();
        let mut throttle = Throttle::default();
        let logged = (0..1000).filter(|n| throttle.occurred(now, &n.to_string()).is_some()).count();
        assert_eq!(logged, 8);
    }
}
