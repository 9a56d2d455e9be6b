//! What is fed with bytes of any kind: every parser of what comes from outside. A target holds what must be true
//! whatever the bytes are, and panics otherwise. libFuzzer searches for bytes for which it is not (`cargo xtask fuzz`);
//! the ordinary tests run what it found before, the corpus, through the same functions.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "a target fails by panicking")]

mod answer;
mod kernel;
mod proc;
mod settings;
mod shown;

/// Takes bytes of any kind, and panics where something is not as it must be.
pub type Target = fn(&[u8]);

/// All targets, by name: that of their program and of their folder in `corpus`.
pub const ALL: &[(&str, Target)] = &[
    ("answer", answer::answer),
    ("btf", kernel::btf),
    ("certificates", settings::certificates),
    ("command_line", settings::command_line),
    ("endpoint", settings::endpoint),
    ("event", kernel::event),
    ("maps", kernel::maps),
    ("names", settings::names),
    ("pin", kernel::pin),
    ("proc_cgroup", proc::cgroup),
    ("proc_fdinfo", proc::fdinfo),
    ("proc_io", proc::io),
    ("proc_limits", proc::limits),
    ("proc_names", proc::names),
    ("proc_stat", proc::stat),
    ("proc_statm", proc::statm),
    ("proc_status", proc::status),
    ("proc_system", proc::system),
    ("shown", shown::shown),
    ("tracefs", kernel::tracefs),
    ("variables", settings::variables),
];

/// Runs a target, by its name.
pub fn run(name: &str, data: &[u8]) {
    let target = ALL.iter().find(|(known, _)| *known == name);
    target.unwrap_or_else(|| panic!("there is no target {name}")).1(data);
}

/// Whether a text has a number, in digits. A value that is not in the input is absent, and above all not 0.
fn has_number(text: &[u8], number: u64) -> bool {
    text.split(|byte| !byte.is_ascii_digit())
        .any(|digits| std::str::from_utf8(digits).is_ok_and(|digits| digits.parse() == Ok(number)))
}

/// What stands between zeros: several texts in one input.
fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|&byte| byte == 0)
}
