//! Flags before a command count as if they stood behind it: `m8refsvr-agent --process x check`.

use std::ffi::OsString;

use clap::{Arg, Command};

/// The arguments, with the flags that stand before the last word of a command put behind it. What can't be understood
/// stays as it is, for clap to complain about.
pub(super) fn behind_the_command(command: &Command, arguments: Vec<OsString>) -> Vec<OsString> {
    let mut words = arguments.iter().take(1).cloned().collect::<Vec<_>>();
    let (mut before, mut current, mut at) = (Vec::new(), command, 1);
    while let Some(argument) = arguments.get(at) {
        let text = &*argument.to_string_lossy();
        if let Some(next) = current.find_subcommand(text) {
            words.push(argument.clone());
            current = next;
            at += 1;
            continue;
        }
        // Flags of the whole command line are looked up there: the command that follows may take them or not.
        let Some(flag) = flag(command, text) else { break };
        let takes_next =
            flag.get_action().takes_values() && !flag.is_require_equals_set() && !text.contains('=');
        let end = (at + 1 + usize::from(takes_next)).min(arguments.len());
        before.extend_from_slice(&arguments[at..end]);
        at = end;
    }
    if words.len() < 2 {
        return arguments;
    }
    words.extend(before);
    words.extend_from_slice(arguments.get(at..).unwrap_or_default());
    words
}

fn flag<'a>(command: &'a Command, text: &str) -> Option<&'a Arg> {
    let name = text.strip_prefix("--")?.split('=').next()?;
    command.get_arguments().find(|arg| {
        arg.get_long() == Some(name) || arg.get_visible_aliases().is_some_and(|names| names.contains(&name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(text: &str) -> String {
        let arguments = text.split(' ').map(OsString::from).collect();
        let placed = behind_the_command(&crate::cli::command(), arguments);
        placed.iter().map(|it| it.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_before_the_command_are_put_behind_it_with_their_values() {
        assert_eq!(placed("agent --process x check --json"), "agent check --process x --json");
        assert_eq!(placed("agent --process=x --tls check"), "agent check --process=x --tls");
        assert_eq!(placed("agent --process check check"), "agent check --process check");
        let dump = "agent debug dump --sample 1 --process x --json";
        assert_eq!(placed("agent --sample 1 debug --process x dump --json"), dump);
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_one_too() {
        use std::os::unix::ffi::OsStringExt as _;
        let name = OsString::from_vec(b"\xff".to_vec());
        let [agent, process, check] = ["agent", "--process", "check"].map(OsString::from);
        let given = vec![agent.clone(), process.clone(), name.clone(), check.clone()];
        assert_eq!(behind_the_command(&crate::cli::command(), given), [agent, check, process, name]);
        let joined = OsString::from_vec(b"--process=\xff".to_vec());
        let given = ["agent".into(), joined.clone(), "check".into()];
        assert_eq!(behind_the_command(&crate::cli::command(), given.into())[2], joined);
    }

    #[test]
    fn all_else_stays_where_it_is() {
        for same in [
            "agent",
            "agent --once --process check",
            "agent check --process x",
            "agent --nonsense check",
            "agent check --process",
            "agent --process",
        ] {
            assert_eq!(placed(same), same);
        }
    }
}
