//! A test case: a sentence about behaviour, and the code that checks it.

pub(crate) type Case = (&'static str, fn());
