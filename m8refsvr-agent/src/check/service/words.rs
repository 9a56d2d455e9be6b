//! Words of a command line as systemd splits them: at blanks, where quotes keep them together and are removed.

pub(super) fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            _ if quote == Some(character) => quote = None,
            '\\' => word.get_or_insert_default().extend(rest.next()),
            '\'' | '"' if quote.is_none() => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            blank if blank.is_whitespace() && quote.is_none() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_and_an_empty_word() {
        assert_eq!(split(" --a  b\t"), ["--a", "b"]);
        assert_eq!(split("'A=b c' \"d 'e'\" f''g ''"), ["A=b c", "d 'e'", "fg", ""]);
        assert_eq!(split(r"a\ b"), ["a b"]);
        assert_eq!(split(""), [""; 0]);
    }
}
