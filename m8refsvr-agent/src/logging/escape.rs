//! Escapes text from outside for people and logs. The name of a process may hold anything: escape sequences that move
//! a terminal's cursor, characters that turn the direction of writing, newlines followed by a forged line of the log.
//! So all text is escaped where it is written, and not where it comes from.

use std::fmt::Write as _;

/// For one line of text: control characters are written as in Rust, `\n` or `\u{9b}`.
pub fn in_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// For JSON, whose values stay the same. Newlines stay: in JSON they can only stand between values.
pub fn in_json(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) && character != '\n' {
            // A string accepts everything.
            let _ = write!(json, "\\u{:04x}", u32::from(character));
        } else {
            json.push(character);
        }
    }
    json
}

/// A URL whose credentials and query are masked, as they may be secrets.
pub fn without_secrets(url: &str) -> String {
    let (scheme, place) = url.split_once("://").map_or(("", url), |(scheme, place)| (scheme, place));
    // First the credentials: a password may have any character.
    let (user, place) = place.rsplit_once('@').map_or(("", place), |(_, place)| ("***@", place));
    let (host, query) = place.split_once('?').map_or((place, ""), |(host, _)| (host, "?***"));
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{user}{host}{query}")
}

/// Whether a character has an effect instead of a shape: controls (those of C1 too, which terminals take for escape
/// sequences), ends of lines, and `Bidi_Control` of Unicode's UAX #9. All have at most four hexadecimal digits.
fn acts(character: char) -> bool {
    let turns = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credentials_are_left_whatever_characters_a_password_has() {
        assert_eq!(without_secrets("http://u:pa?ss@proxy:1"), "http://***@proxy:1");
        assert_eq!(without_secrets("http://u:p@ss/w@proxy/a?key=b"), "http://***@proxy/a?***");
        assert_eq!(without_secrets("https://host/a?key=b"), "https://host/a?***");
    }

    #[test]
    fn nothing_in_a_line_acts_and_all_else_stays() {
        assert_eq!(in_line("a\nb\t\x1b[31m\x7f\u{9b}0m"), r"a\nb\t\u{1b}[31m\u{7f}\u{9b}0m");
        assert_eq!(in_line("x\u{202e}y\u{2066}\u{2028}"), r"x\u{202e}y\u{2066}\u{2028}");
        assert_eq!(in_line("M8 \"Ref\" 'Svr' \\ é 日本 e\u{301}"), "M8 \"Ref\" 'Svr' \\ é 日本 e\u{301}");
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        assert_eq!(without_secrets("http://user:pass@host:1/a?key=pass"), "http://***@host:1/a?***");
        assert_eq!(without_secrets("user:p@ss@host"), "***@host");
        assert_eq!(without_secrets("host:1/a"), "host:1/a");
    }

    #[test]
    fn json_means_the_same_and_nothing_in_it_acts() {
        let value = serde_json::json!({"a\u{9b}": ["\x1b\x7f\u{202e}\u{2029}\n", "é"]});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = in_json(&text);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(shown.lines().all(|line| in_line(line) == line) && shown.contains('é'), "{shown}");
    }
}
