//! Tests that need something of the machine. A test that can't run here is reported as ignored, with its name and the
//! reason.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test.
#[derive(Clone, Copy, Debug)]
pub struct Case<N: 'static> {
    /// A sentence about behaviour.
    name: &'static str,
    /// What it needs of the machine.
    needs: &'static [N],
    /// The proof; it fails by panicking.
    run: fn(),
}

impl<N> Case<N> {
    /// Stands right before the function, so that the sentence and its proof are read together.
    pub const fn new(sentence: &'static str, needs: &'static [N], proof: fn()) -> Self {
        Self { name: sentence, needs, run: proof }
    }
}

/// Runs the cases whose needs the machine meets: those for which `reason_against` gives no reason.
#[expect(clippy::print_stderr, reason = "names the tests that could not run")]
pub fn run<N: Copy + PartialEq>(
    cases: Vec<Case<N>>,
    arguments: &Arguments,
    reason_against: impl Fn(N) -> Option<String>,
) -> ExitCode {
    let mut known: Vec<(N, Option<String>)> = Vec::new();
    let mut left_out = Vec::new();
    let trials = cases
        .into_iter()
        .map(|case| {
            let reason = case.needs.iter().find_map(|&need| {
                if !known.iter().any(|(known, _)| *known == need) {
                    known.push((need, reason_against(need)));
                }
                known.iter().find(|(known, _)| *known == need)?.1.clone()
            });
            if let Some(reason) = &reason {
                left_out.push(format!("{}: {reason}", case.name));
            }
            Trial::test(case.name, move || {
                (case.run)();
                Ok(())
            })
            .with_ignored_flag(reason.is_some())
        })
        .collect();
    let conclusion = libtest_mimic::run(arguments, trials);
    for line in &left_out {
        eprintln!("could not run here: {line}");
    }
    conclusion.exit_code()
}
