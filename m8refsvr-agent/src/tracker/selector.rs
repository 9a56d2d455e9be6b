//! Which processes match. A pure decision over names; where they come from is not its business.

use m8refsvr_common::comm::OWN;
use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

use crate::{bpf::Comms, proc::identity::Names};

/// Why a name or an expression can't select processes.
#[derive(Debug, Error)]
pub enum SelectorError {
    /// Nothing in it.
    #[error("a process name is empty: give a part of the name, such as M8RefSvr")]
    Empty,
    /// A path where a file name is compared.
    #[error("{0:?} is a path, but file names are compared: give {1:?}")]
    Path(String, String),
    /// The same text with two meanings.
    #[error("{0:?} is given as a name and as a regular expression: give one of them")]
    Twice(String),
    /// Not a regular expression.
    #[error("{text:?} is not a regular expression: {reason}")]
    Expression {
        /// As given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Selects processes by their names.
#[derive(Clone, Debug)]
pub struct Selector {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    regex: Regex,
    is_name: bool,
}

impl Selector {
    /// Selects what has one of `names` in one of its own names, whatever the case, or matches one of
    /// `expressions`.
    pub fn new(names: &[String], expressions: &[String]) -> Result<Self, SelectorError> {
        let names = names.iter().map(|name| Pattern::of_name(name));
        let expressions = expressions.iter().map(|expression| Pattern::of_expression(expression));
        let mut patterns: Vec<Pattern> = Vec::new();
        for pattern in names.chain(expressions) {
            let pattern = pattern?;
            match patterns.iter().find(|known| known.text == pattern.text) {
                None => patterns.push(pattern),
                Some(known) if known.regex.as_str() == pattern.regex.as_str() => {}
                Some(_) => return Err(SelectorError::Twice(pattern.text)),
            }
        }
        Ok(Self { patterns })
    }

    /// The patterns as the user gave them, names first.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| pattern.text.as_str())
    }

    /// The patterns with their kinds: `name` or `regex`.
    pub fn kinds(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let kind = |pattern: &Pattern| if pattern.is_name { "name" } else { "regex" };
        self.patterns.iter().map(move |pattern| (kind(pattern), pattern.text.as_str()))
    }

    /// What of it can be decided by a process's `comm` alone, whatever its other names are.
    pub fn comms(&self) -> Comms {
        let is_simple = |pattern: &&Pattern| pattern.is_name && pattern.text.is_ascii();
        let names = self.patterns.iter().filter(is_simple).map(|pattern| pattern.text.clone());
        Comms { names: names.collect(), others: !self.patterns.iter().all(|pattern| is_simple(&pattern)) }
    }

    /// The patterns in quotation marks.
    pub fn in_words(&self) -> String {
        self.patterns().map(|pattern| format!("'{pattern}'")).collect::<Vec<_>>().join(", ")
    }

    /// The first pattern that matches, by its place among [`Self::patterns`]; `None` for a process that none
    /// matches, and for the agent: this one, another, and the scripts of its package.
    pub fn select(&self, names: &Names) -> Option<usize> {
        if names.all().any(|name| name.starts_with(OWN.as_bytes())) {
            return None;
        }
        self.patterns.iter().position(|pattern| names.all().any(|name| pattern.regex.is_match(name)))
    }
}

impl Pattern {
    fn of_name(name: &str) -> Result<Self, SelectorError> {
        if name.trim().is_empty() {
            return Err(SelectorError::Empty);
        }
        if name.contains('/') {
            return Err(match name.trim_end_matches('/').rsplit('/').next() {
                Some(file_name) if !file_name.trim().is_empty() => {
                    SelectorError::Path(name.into(), file_name.into())
                }
                _ => SelectorError::Empty,
            });
        }
        Self::new(name, &regex::escape(name), true)
    }

    fn of_expression(expression: &str) -> Result<Self, SelectorError> {
        if expression.is_empty() {
            return Err(SelectorError::Empty);
        }
        Self::new(expression, expression, false)
    }

    fn new(text: &str, expression: &str, any_case: bool) -> Result<Self, SelectorError> {
        let regex = RegexBuilder::new(expression).case_insensitive(any_case).build().map_err(|error| {
            // Its last line says what is wrong; those before point at the place.
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            SelectorError::Expression { text: text.into(), reason }
        })?;
        Ok(Self { text: text.into(), regex, is_name: any_case })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(comm: &str, executable: &str, argv0: &str) -> Names {
        let bytes = |name: &str| (!name.is_empty()).then(|| name.as_bytes().to_vec());
        Names { comm: comm.into(), executable: bytes(executable), argv0: bytes(argv0), ..Names::default() }
    }

    fn selects(name: &str, of: &Names) -> bool {
        Selector::new(&[name.into()], &[]).unwrap().select(of).is_some()
    }

    #[test]
    fn a_part_of_any_of_the_names_matches_whatever_the_case() {
        assert!(selects("M8RefSvr", &names("M8RefSvr_64", "", "")));
        assert!(selects("m8refsvr", &names("M8REFSVR", "", "")));
        assert!(selects("M8RefSvr", &names("main", "m8refsvr.bin", "")));
        assert!(selects("M8RefSvr", &names("main", "wrapper", "M8RefSvr")));
        assert!(!selects("M8RefSvr", &names("vim", "vim.basic", "vim")));
    }

    #[test]
    fn a_name_longer_than_comm_matches_by_the_executable() {
        let long = "M8RefSvr_Production_64";
        assert!(selects(long, &names(&long[..15], long, "")));
        assert!(selects("Production_64", &names(&long[..15], "", long)));
        assert!(!selects(long, &names(&long[..15], "other", "other")));
    }

    #[test]
    fn a_name_is_no_expression() {
        assert!(selects("a.b+", &names("xa.b+y", "", "")));
        assert!(!selects("a.b", &names("axb", "", "")));
    }

    #[test]
    fn an_expression_selects_more_and_minds_the_case() {
        let selector = Selector::new(&[], &["^M8(Ref|Map)Svr$".into()]).unwrap();
        assert_eq!(selector.select(&names("M8MapSvr", "", "")), Some(0));
        assert_eq!(selector.select(&names("m8mapsvr", "", "")), None);
        assert_eq!(selector.select(&names("M8MapSvr2", "", "")), None);
    }

    #[test]
    fn the_first_pattern_that_matches_counts() {
        let selector = Selector::new(&["b".into(), "a".into()], &["c".into()]).unwrap();
        assert_eq!(selector.select(&names("a", "b", "")), Some(0));
        assert_eq!(selector.select(&names("a", "", "")), Some(1));
        assert_eq!(selector.select(&names("c", "", "")), Some(2));
        assert_eq!(selector.patterns().collect::<Vec<_>>(), ["b", "a", "c"]);
    }

    #[test]
    fn a_pattern_that_is_given_twice_is_one() {
        let twice = ["a".to_owned(), "b".to_owned(), "a".to_owned()];
        assert_eq!(Selector::new(&twice, &[]).unwrap().patterns().collect::<Vec<_>>(), ["a", "b"]);
        let error = Selector::new(&["a.b".into()], &["a.b".into()]).unwrap_err().to_string();
        assert!(error.contains("give one of them"), "{error}");
    }

    #[test]
    fn names_can_be_decided_in_the_kernel_and_expressions_cannot() {
        let comms = |names: &[&str], expressions: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            Selector::new(&owned(names), &owned(expressions)).unwrap().comms()
        };
        let names = comms(&["M8RefSvr", "b"], &[]);
        assert_eq!((names.names, names.others), (vec!["M8RefSvr".to_owned(), "b".to_owned()], false));
        assert!(comms(&["b"], &["c"]).others);
        let foreign = comms(&["M8R\u{e9}f"], &[]);
        assert!(foreign.names.is_empty() && foreign.others);
    }

    #[test]
    fn the_agent_never_matches_whatever_follows_its_name() {
        assert_eq!(OWN, env!("CARGO_PKG_NAME"));
        for of_agent in ["m8refsvr-agent", "m8refsvr-agent-2.0", "m8refsvr-agent.old", "m8refsvr-agent2"] {
            let comm = &of_agent[..of_agent.len().min(15)];
            assert!(!selects("M8RefSvr", &names(comm, of_agent, of_agent)), "{of_agent}");
            assert!(!selects("M8RefSvr", &names(comm, "dash", "sh")), "{of_agent} as a script");
            assert!(!selects("M8RefSvr", &names("renamed", of_agent, "M8RefSvr")), "{of_agent}, renamed");
            assert!(Selector::new(&[], &["m8refsvr".into()]).unwrap().select(&names(comm, "", "")).is_none());
        }
        assert!(selects("M8RefSvr", &names("M8RefSvr-agent", "", "")));
        assert!(selects("M8RefSvr", &names("m8refsvr-agen", "", "")));
    }

    #[test]
    fn names_that_are_no_text_match_by_their_bytes() {
        let strange = Names { comm: b"\xffM8RefSvr\n)".into(), ..Names::default() };
        assert!(selects("m8refsvr", &strange));
    }

    #[test]
    fn what_can_select_nothing_is_an_error_that_says_what_would_be_right() {
        let error = |name: &str| Selector::new(&[name.into()], &[]).unwrap_err().to_string();
        assert!(error("").contains("is empty"));
        assert!(error("  ").contains("is empty"));
        assert!(error("/opt/M8RefSvr").contains("give \"M8RefSvr\""));
        assert!(error("/opt/M8RefSvr/").contains("give \"M8RefSvr\""));
        assert!(error("//").contains("is empty"));
        let error = Selector::new(&[], &["a(".into()]).unwrap_err().to_string();
        assert!(error.contains("\"a(\" is not a regular expression: unclosed group"), "{error}");
    }
}
