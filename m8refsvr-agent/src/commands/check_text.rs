//! What `check` prints for people: marked lines, a table, and colour where it is wanted.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _},
};

use crate::{
    check::{Finding, Mark},
    cli::{Color, Setting},
    logging::escape::in_line,
};

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[1;31m";
const RESET: &str = "\x1b[0m";

/// Whether there is colour.
#[derive(Clone, Copy)]
pub(super) struct Style {
    is_coloured: bool,
}

impl Style {
    /// By default on a terminal alone, and not where NO_COLOR is set (no-color.org) or the terminal has none.
    pub(super) fn of_stdout(choice: Color) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            is_coloured: match choice {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb,
            },
        }
    }

    pub(super) fn verdict(self, text: &str, is_ready: bool) -> String {
        self.coloured(&in_line(text), if is_ready { GREEN } else { RED })
    }

    fn mark(self, mark: Mark) -> String {
        let colour = match mark {
            Mark::Ok => GREEN,
            Mark::Warning => YELLOW,
            Mark::Failure => RED,
        };
        self.coloured(mark.word(), colour)
    }

    fn coloured(self, text: &str, colour: &str) -> String {
        if self.is_coloured { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }
}

/// A line for each finding.
pub(super) fn lines(findings: &[Finding], style: Style) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    findings.iter().fold(String::new(), |mut text, Finding { check, mark, found, advice }| {
        let advice = advice.iter().map(|advice| format!("; {advice}")).collect::<String>();
        // One line, whatever somebody else wrote into it.
        let line = in_line(&format!("{check:width$}  {found}{advice}"));
        // A string takes everything.
        let _ = writeln!(text, "{}  {line}", style.mark(*mark));
        text
    })
}

/// A row for each setting: its name, its value, and where it came from.
pub(super) fn table(settings: &[Setting]) -> String {
    let width = |of: fn(&Setting) -> &str| {
        // A long value moves the origin of its own row alone.
        settings
            .iter()
            .map(|setting| of(setting).chars().count())
            .filter(|&width| width <= 40)
            .max()
            .unwrap_or(0)
    };
    let (names, values) = (width(|setting| &setting.name), width(|setting| &setting.value));
    settings.iter().fold(String::new(), |mut text, Setting { name, value, origin }| {
        let line = in_line(&format!("  {name:names$}  {value:values$}  {origin}"));
        let _ = writeln!(text, "{line}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Origin;

    const PLAIN: Style = Style { is_coloured: false };

    #[test]
    fn each_finding_is_one_line_with_what_to_do_behind_it() {
        let finding = |mark, found: &str, advice: Option<&str>| Finding {
            check: "thing",
            mark,
            found: found.into(),
            advice: advice.map(str::to_owned),
        };
        let findings = [
            finding(Mark::Ok, "fine", None),
            finding(Mark::Warning, "odd\nok       other", Some("mend it")),
            finding(Mark::Failure, "\u{1b}[31mbroken", None),
        ];
        let text = "ok       thing  fine\nwarning  thing  odd\\nok       other; mend it\nFAILURE  thing  \\u{1b}[31mbroken\n";
        assert_eq!(lines(&findings, PLAIN), text);
        let coloured = lines(&findings[..1], Style { is_coloured: true });
        assert_eq!(coloured, "\u{1b}[32mok     \u{1b}[0m  thing  fine\n");
    }

    #[test]
    fn settings_are_a_table_in_which_no_value_makes_a_line_of_its_own() {
        let setting =
            |name: &str, value: &str, origin| Setting { name: name.into(), value: value.into(), origin };
        let settings = [
            setting("--interval", "60", Origin::Default),
            setting("--process", "a\nb, c", Origin::Variable("PROCESS_NAME")),
        ];
        let text = "  --interval  60      default\n  --process   a\\nb, c  variable PROCESS_NAME\n";
        assert_eq!(table(&settings), text);
    }
}
