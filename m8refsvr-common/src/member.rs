//! How a member of a kernel structure is named.

/// A member of a kernel structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The structure, or the record of a classic tracepoint.
    pub structure: &'static str,
    /// The ways to the member, each the names on it from the outside in. Kernels have one of them.
    pub paths: &'static [&'static [&'static str]],
}

impl Member {
    pub(crate) const fn new(structure: &'static str, paths: &'static [&'static [&'static str]]) -> Self {
        Self { structure, paths }
    }
}
