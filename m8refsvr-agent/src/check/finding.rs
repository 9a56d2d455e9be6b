//! What a step of `check` found.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// As it should be.
    Ok,
    /// The agent goes on, with less.
    Warning,
    /// The settings require it, and it does not work.
    Failure,
}

impl Mark {
    /// As a word of the same length, for lines that stand below each other.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok     ",
            Self::Warning => "warning",
            Self::Failure => "FAILURE",
        }
    }
}

/// What was found of one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub mark: Mark,
    pub found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, mark: Mark::Ok, found: found.into(), advice: None }
    }

    pub(crate) fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, mark: Mark::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    /// A warning whose message has what to do already.
    pub(crate) fn remark(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, mark: Mark::Warning, found: found.into(), advice: None }
    }

    /// A failure whose message has what to do already.
    pub(crate) fn failure(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, mark: Mark::Failure, found: found.into(), advice: None }
    }
}
