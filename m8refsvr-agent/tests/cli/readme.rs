//! The README beside `--help`, and beside the settings of the service.

use std::{
    fs::{self},
    process::Command,
};

use crate::run;

/// A flag as a user reads of it.
#[derive(Debug, PartialEq, Eq)]
struct Flag {
    /// With what stands in for its value.
    usage: String,
    variables: Vec<String>,
    default: String,
    values: Vec<String>,
}

#[test]
fn readme_and_help_say_the_same_of_every_flag() {
    let mut of_readme = flags_of_readme();
    let mut of_help = flags_of_help(&run(&["--help"]).1, "");
    let global: Vec<String> = of_help.iter().map(|flag| flag.usage.clone()).collect();
    for command in ["check ", "debug dump "] {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let is_own = |flag: &Flag| !global.contains(&flag.usage.replace(command, ""));
        of_help.extend(flags_of_help(&run(&words).1, command).into_iter().filter(is_own));
    }
    of_readme.sort_by(|one, other| one.usage.cmp(&other.usage));
    of_help.sort_by(|one, other| one.usage.cmp(&other.usage));
    assert!(of_help.len() > 20, "{of_help:?}");
    for (readme, help) in of_readme.iter().zip(&of_help) {
        assert_eq!(readme, help, "README on the left, --help on the right");
    }
    assert_eq!(of_readme.len(), of_help.len());
}

#[test]
fn the_service_s_settings_have_every_variable_of_the_readme() {
    let settings = include_str!("../../../packaging/agent.env");
    let examples = settings.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let is_name =
        |name: &str| name.chars().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_');
    let mut examples: Vec<&str> = examples.map(|(name, _)| name).filter(|name| is_name(name)).collect();
    let rows: Vec<String> = rows_of_readme().collect();
    let cells = rows.iter().flat_map(|row| row.split('|').nth(2).unwrap().split(", "));
    let cells = cells.map(|name| name.trim().trim_matches('`'));
    let mut variables: Vec<&str> = cells.filter(|name| !name.is_empty()).collect();
    // For flags without a variable, which the unit passes on.
    variables.push("M8REFSVR_ARGS");
    examples.sort_unstable();
    variables.sort_unstable();
    assert!(variables.len() > 20, "{variables:?}");
    assert_eq!(examples, variables);
}

#[test]
fn the_readme_s_check_has_the_settings_and_flags_of_the_service() {
    let readme = include_str!("../../../README.md");
    let line = readme.lines().find_map(|line| line.strip_prefix("sudo sh -c '")?.strip_suffix('\''));
    let folder = tempfile::tempdir().unwrap();
    let [settings, log] = ["agent.env", "log"].map(|name| folder.path().join(name));
    let flags = format!("--ebpf off --process-regex ^no[s*]uch$ --log-file {}", log.display());
    fs::write(&settings, format!("PROCESS_NAME='no such;name'\nM8REFSVR_ARGS='{flags}'\n")).unwrap();
    let line = line
        .unwrap()
        .replace("/etc/m8refsvr/agent.env", settings.to_str().unwrap())
        .replace("exec m8refsvr-agent", concat!("exec ", env!("CARGO_BIN_EXE_m8refsvr-agent")));
    let output = Command::new("sh").args(["-c", &line]).env_clear().output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("processes matching 'no such;name', '^no[s*]uch$', every 60 s"),
        "{line}: {printed}"
    );
    // Made by root it would be closed to the service.
    assert!(!log.exists());
}

/// The rows of README's table of settings, in which only the cells' borders are still `|`.
fn rows_of_readme() -> impl Iterator<Item = String> {
    let readme = include_str!("../../../README.md");
    let table = readme.split("| flag | variables | default | meaning |").nth(1).unwrap();
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(|line| line.replace("\\|", "\u{1}"))
}

fn flags_of_readme() -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for row in rows_of_readme() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if cells[1].is_empty() {
            continue;
        }
        let usage = cells[1].trim_matches('`').replace('\u{1}', "|");
        let choice = usage.rsplit(' ').next().unwrap().split('|').map(str::to_owned).collect::<Vec<_>>();
        flags.push(Flag {
            values: if choice.len() > 1 { choice } else { Vec::new() },
            usage: usage
                .rsplit_once(' ')
                .filter(|_| usage.contains('|'))
                .map_or(usage.clone(), |it| it.0.into()),
            variables: cells[2]
                .split(", ")
                .filter(|it| !it.is_empty())
                .map(|it| it.trim_matches('`').into())
                .collect(),
            default: cells[3].into(),
        });
    }
    flags
}

fn flags_of_help(help: &str, command: &str) -> Vec<Flag> {
    let mut entries: Vec<Vec<&str>> = Vec::new();
    for line in help.lines() {
        if line.trim_start().starts_with("--") && line.starts_with("      --") {
            entries.push(vec![line.trim()]);
        } else if !line.starts_with("   ") && !line.is_empty() {
            entries.push(Vec::new());
        } else if let Some(entry) = entries.last_mut().filter(|entry| !entry.is_empty()) {
            entry.push(line.trim());
        }
    }
    let bracketed = |text: &str, name: &str| {
        let found = text.split(&format!("[{name}: ")).nth(1).and_then(|rest| rest.split(']').next());
        found.unwrap_or_default().to_owned()
    };
    let entries = entries.into_iter().filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let text = entry.join(" ");
            let values: Vec<String> = entry
                .iter()
                .filter_map(|line| line.strip_prefix("- ")?.split(':').next().map(str::to_owned))
                .collect();
            let usage = entry[0].replace(" <", " ").replace("[=<", "[=").replace(">]", "]").replace('>', "");
            let usage = if values.is_empty() { usage } else { usage.split(' ').next().unwrap().into() };
            let variables = bracketed(&text, "env");
            Flag {
                usage: format!("{command}{usage}"),
                variables: variables.split(", ").filter(|it| !it.is_empty()).map(str::to_owned).collect(),
                default: bracketed(&text, "default"),
                values,
            }
        })
        .collect()
}
