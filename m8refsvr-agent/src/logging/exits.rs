//! Processes that ended, as lines of the log: one each, but not without end. Decides what is said; a parameter tells the
//! time.

use std::time::{Duration, Instant};

use crate::model::exit::{EndKind, ProcessEnd};

/// So many are told one by one within [`WINDOW`].
const MOST: usize = 20;

/// After this time the others are told as one line, and those that follow one by one again.
const WINDOW: Duration = Duration::from_secs(60);

/// What is said of those that end.
#[derive(Debug)]
pub struct Ends {
    /// How many ends since the last collection were taken in.
    taken: usize,
    said: usize,
    left_out: usize,
    since: Instant,
}

impl Ends {
    /// Nothing was said yet.
    pub fn new(now: Instant) -> Self {
        Self { taken: 0, said: 0, left_out: 0, since: now }
    }

    /// Those that ended since the last collection, as far as they were not taken in before.
    pub fn news<'a>(&mut self, over: &'a [ProcessEnd]) -> Vec<&'a ProcessEnd> {
        let ended = over.iter().filter(|over| matches!(over.how, EndKind::Exited(_)));
        let news: Vec<&ProcessEnd> = ended.skip(self.taken).collect();
        self.taken += news.len();
        news
    }

    /// The lines for these.
    pub fn lines(&mut self, news: &[&ProcessEnd], now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        if now.saturating_duration_since(self.since) >= WINDOW {
            lines.extend(self.rest());
            (self.said, self.since) = (0, now);
        }
        for sentence in news.iter().filter_map(|over| over.in_words()) {
            if self.said < MOST {
                self.said += 1;
                lines.push(sentence);
            } else {
                self.left_out += 1;
            }
        }
        lines
    }

    /// A collection has taken in all that were over.
    pub fn looked(&mut self) {
        self.taken = 0;
    }

    /// The line for those that were left out, if there are any.
    pub fn rest(&mut self) -> Option<String> {
        let left_out = std::mem::take(&mut self.left_out);
        (left_out > 0).then(|| format!("{left_out} more processes ended"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::fixtures::ended;

    fn lines(ends: &mut Ends, over: &[ProcessEnd], now: Instant) -> Vec<String> {
        let news = ends.news(over);
        ends.lines(&news, now)
    }

    #[test]
    fn each_end_is_a_line_once_whether_a_look_comes_between_or_not() {
        let now = Instant::now();
        let mut ends = Ends::new(now);
        let left = ProcessEnd { how: EndKind::Deselected, ..ended(2, 5, 0) };
        let over = [ended(1, 5, 0), left, ended(3, 5, 0)];
        assert_eq!(lines(&mut ends, &over[..2], now).len(), 1);
        let line = lines(&mut ends, &over, now);
        assert!(line[0].starts_with("M8RefSvr 3 ended normally"), "{line:?}");
        assert_eq!(lines(&mut ends, &over, now), [""; 0]);
        ends.looked();
        assert_eq!(lines(&mut ends, &over[..1], now).len(), 1);
    }

    #[test]
    fn of_many_the_first_are_told_and_the_rest_as_one_and_then_again_each() {
        let start = Instant::now();
        let mut ends = Ends::new(start);
        let over: Vec<ProcessEnd> = (0..100).map(|pid| ended(pid, 5, 0)).collect();
        assert_eq!(lines(&mut ends, &over, start).len(), MOST);
        ends.looked();
        assert_eq!(lines(&mut ends, &over[..5], start + WINDOW / 2), [""; 0]);
        ends.looked();
        let lines = lines(&mut ends, &over[..1], start + WINDOW);
        assert_eq!((lines.len(), lines[0].as_str()), (2, "85 more processes ended"));
        assert_eq!(ends.rest(), None);
    }
}
