//! Flags that had another name. The earlier names are taken for one release, with a warning that has the new one; no
//! help shows them.

use std::ffi::OsString;

/// An earlier name, and what it is called now.
pub(super) type Renamed = (&'static str, &'static str);

pub(super) const FLAGS: &[Renamed] =
    &[("--capacity", "--max-tracked-processes"), ("--max-processes", "--max-series-processes")];

/// The arguments with the names of now, and a warning for each earlier one.
pub(super) fn flags(arguments: Vec<OsString>, table: &[Renamed]) -> (Vec<OsString>, Vec<String>) {
    let mut warnings = Vec::new();
    let renamed = |argument: OsString| {
        // No value of a flag begins with two dashes, as clap takes that for a flag.
        let Some((text, &(old, new))) = argument.to_str().and_then(|text| {
            let name = text.split('=').next()?;
            table.iter().find(|(old, _)| *old == name).map(|renamed| (text, renamed))
        }) else {
            return argument;
        };
        warnings.push(warning(old, new));
        format!("{new}{}", &text[old.len()..]).into()
    };
    let arguments = arguments.into_iter().map(renamed).collect();
    (arguments, warnings)
}

fn warning(old: &str, new: &str) -> String {
    format!("{old} was renamed to {new}: the next release takes the new name alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn an_earlier_flag_is_replaced_with_or_without_its_value_beside_it_and_warned_of() {
        let given = [
            "agent",
            "--capacity",
            "7",
            "check",
            "--max-processes=3",
            "--capacity-x",
            "--process=--capacity",
        ];
        let (now, warnings) = flags(arguments(&given), FLAGS);
        let expected = [
            "agent",
            "--max-tracked-processes",
            "7",
            "check",
            "--max-series-processes=3",
            "--capacity-x",
            "--process=--capacity",
        ];
        assert_eq!(now, arguments(&expected));
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("--capacity was renamed to --max-tracked-processes"), "{warnings:?}");
        let (same, warnings) = flags(now.clone(), FLAGS);
        assert_eq!((same, warnings.len()), (now, 0));
    }

    #[test]
    fn every_earlier_flag_leads_to_one_that_there_is() {
        let command = crate::cli::command();
        let is_flag =
            |name: &str| command.get_arguments().any(|arg| arg.get_long() == name.strip_prefix("--"));
        for (old, new) in FLAGS {
            assert!(is_flag(new) && !is_flag(old), "{old} {new}");
        }
    }
}
