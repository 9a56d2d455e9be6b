//! A settings file as systemd reads it (`EnvironmentFile=` in systemd.exec(5)), without variables in values: a pure
//! function of its text.

use std::{iter::Peekable, str::Chars};

/// Names and values in the order of the file; the last of the same name counts.
pub(super) fn parse(text: &str) -> Vec<(String, String)> {
    let mut rest = text.chars().peekable();
    let mut all = Vec::new();
    while let Some(&first) = rest.peek() {
        if first.is_whitespace() {
            rest.next();
        } else if matches!(first, '#' | ';') {
            line(&mut rest, |_| false);
        } else {
            let name = line(&mut rest, |character| character == '=');
            if rest.next_if_eq(&'=').is_some() {
                all.push((name.trim_end().to_owned(), value(&mut rest)));
            }
        }
    }
    all
}

/// What is left of the line, as far as the character that ends it.
fn line(rest: &mut Peekable<Chars<'_>>, ends: impl Fn(char) -> bool) -> String {
    std::iter::from_fn(|| rest.next_if(|&character| character != '\n' && !ends(character))).collect()
}

fn value(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut value = String::new();
    // Quotes count at the beginning and after other quotes alone.
    let mut is_plain = false;
    let mut end = 0;
    while let Some(character) = rest.next() {
        match character {
            '\n' => break,
            '\\' => {
                // A line goes on behind it.
                value.extend(rest.next().filter(|&next| next != '\n'));
                is_plain = true;
                end = value.len();
            }
            '\'' if !is_plain => {
                value.extend(std::iter::from_fn(|| rest.next_if(|&it| it != '\'')));
                rest.next();
                end = value.len();
            }
            '"' if !is_plain => {
                double_quoted(rest, &mut value);
                end = value.len();
            }
            blank if blank.is_whitespace() && !is_plain => {}
            other => {
                is_plain = true;
                value.push(other);
                if !other.is_whitespace() {
                    end = value.len();
                }
            }
        }
    }
    value.truncate(end);
    value
}

fn double_quoted(rest: &mut Peekable<Chars<'_>>, value: &mut String) {
    while let Some(character) = rest.next() {
        match character {
            '"' => return,
            '\\' => match rest.next() {
                Some('\n') | None => {}
                Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                Some(other) => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> String {
        let all = parse(text);
        assert_eq!(all.len(), 1, "{text:?}: {all:?}");
        assert_eq!(all[0].0, "A");
        all[0].1.clone()
    }

    #[test]
    fn values_are_those_of_systemd() {
        for (text, value) in [
            ("A=b", "b"),
            ("  A = b c  \n", "b c"),
            ("A=", ""),
            ("A='b  c'", "b  c"),
            ("A='b\\c'", "b\\c"),
            ("A=\"b \\\"c\\\" \\x\"", "b \"c\" \\x"),
            ("A='b'\"c\"", "bc"),
            ("A=b\"c\"", "b\"c\""),
            ("A=b\\ c\\\nd", "b cd"),
            ("A=\"b\nc\"", "b\nc"),
            ("A=b=c # d", "b=c # d"),
        ] {
            assert_eq!(only(text), value, "{text:?}");
        }
    }

    #[test]
    fn comments_and_lines_that_set_nothing_are_left_out() {
        let all = parse("# A=1\n; B=2\nnothing\n\nC=3\nD=4");
        assert_eq!(all, [("C", "3"), ("D", "4")].map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn the_settings_file_that_is_installed_sets_nothing_by_itself() {
        assert_eq!(parse(include_str!("../../../../packaging/agent.env")), []);
    }
}
