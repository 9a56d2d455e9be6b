//! From the text of a value to the value. An error names what would be right.

use std::time::Duration;

use crate::bpf;

/// A length of time between 10 milliseconds and a day.
pub(super) fn sample(text: &str) -> Result<Duration, String> {
    seconds(text, 0.01, "0.01")
}

/// A length of time between 100 milliseconds and a day.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    seconds(text, 0.1, "0.1")
}

/// The same in milliseconds, as the specification of OpenTelemetry has it.
pub(crate) fn interval_in_milliseconds(text: &str) -> Result<Duration, String> {
    let milliseconds = text.trim().parse().ok().filter(|it| (100..=86_400_000).contains(it));
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| "give a whole number of milliseconds, from 100 to 86400000".into())
}

/// A truth value as the specification of OpenTelemetry has it.
pub(crate) fn strict_truth(text: &str) -> Option<bool> {
    let is = |word: &str| text.trim().eq_ignore_ascii_case(word);
    if is("true") { Some(true) } else { is("false").then_some(false) }
}

fn seconds(text: &str, least: f64, named: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.trim().parse().map_err(|_| "give a number of seconds, such as 1 or 0.5".to_owned())?;
    if (least..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!("give between {named} and 86400 seconds"))
    }
}

/// How many processes BPF programs can count for at once.
pub(super) fn capacity(text: &str) -> Result<u32, String> {
    let capacity = text.trim().parse().ok().filter(|&capacity| bpf::is_capacity(capacity));
    capacity.ok_or_else(|| format!("give a whole number from 1 to {}", m8refsvr_common::slot::MAX_CAPACITY))
}

/// A name for `service.instance.id`.
pub(super) fn instance(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("give a name without control characters".into());
    }
    Ok(name.to_owned())
}

/// A truth value as the earlier plugin took it.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "y" => Ok(true),
        "false" | "0" | "no" | "off" | "f" | "n" => Ok(false),
        _ => Err("give one of true, 1, yes, on, t, y, or of false, 0, no, off, f, n".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_length_of_time() {
        assert_eq!(sample("1"), Ok(Duration::from_secs(1)));
        assert_eq!(sample("0.25"), Ok(Duration::from_millis(250)));
        for wrong in ["0", "-1", "nan", "inf", "0.001", "1e9", "", "1s", "one"] {
            assert!(sample(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interval_is_at_least_a_tenth_of_a_second() {
        assert_eq!(interval("0.1"), Ok(Duration::from_millis(100)));
        assert_eq!(interval(" 60 "), Ok(Duration::from_secs(60)));
        for wrong in ["0.09", "0", "-1", "86401", "1m"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interval_in_milliseconds_has_the_same_range() {
        assert_eq!(interval_in_milliseconds("100"), Ok(Duration::from_millis(100)));
        assert_eq!(interval_in_milliseconds(" 86400000 "), Ok(Duration::from_secs(86_400)));
        for wrong in ["99", "86400001", "0", "-1", "1.5", "10s", ""] {
            assert!(interval_in_milliseconds(wrong).unwrap_err().contains("milliseconds"), "{wrong}");
        }
    }

    #[test]
    fn a_truth_value_of_the_specification_is_one_of_two_words() {
        assert_eq!((strict_truth("True"), strict_truth(" FALSE ")), (Some(true), Some(false)));
        for neither in ["", "1", "yes", "on", "0"] {
            assert_eq!(strict_truth(neither), None, "{neither}");
        }
    }

    #[test]
    fn a_capacity_fits_the_slots_numbers() {
        assert_eq!((capacity("1"), capacity("65535")), (Ok(1), Ok(65535)));
        for wrong in ["0", "65536", "-1", "4k", ""] {
            assert!(capacity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_instance_has_a_name_that_can_be_read() {
        assert_eq!(instance(" blue-1 "), Ok("blue-1".to_owned()));
        for wrong in ["", " ", "a\nb", "a\u{1b}[31m"] {
            assert!(instance(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_truth_value_is_one_of_many_words_and_nothing_else() {
        for yes in ["true", "1", "yes", "on", "t", "y", "TRUE", "Yes", " on "] {
            assert_eq!(truth(yes), Ok(true), "{yes}");
        }
        for no in ["false", "0", "no", "off", "f", "n", "False", "OFF"] {
            assert_eq!(truth(no), Ok(false), "{no}");
        }
        for neither in ["", "2", "tru", "enabled", "-"] {
            assert!(truth(neither).unwrap_err().contains("give one of"), "{neither}");
        }
    }
}
