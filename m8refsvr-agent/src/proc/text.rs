//! Text that the kernel writes to /proc: numbers, escapes, and what has to be done before the procfs crate gets it.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

/// A number in ASCII digits, and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    // `parse` would accept a sign too.
    std::str::from_utf8(text).ok().filter(|_| text.iter().all(u8::is_ascii_digit))?.parse().ok()
}

/// The number at the start of `text`. `None` unless a space or a newline follows it: without one, digits may be
/// missing.
pub(super) fn leading_number(text: &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b' ' | b'\n' if at > 0 => return Some(value),
            _ => return None,
        }
    }
    None
}

/// The rest of the first line that starts with `prefix`.
pub(super) fn line_after<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(prefix))
}

/// Parses a file by the procfs crate. Bytes that are not UTF-8 are replaced first: they occur in names, which no caller
/// reads. A text without its final newline was cut off, perhaps within a number, and is refused.
pub(super) fn parse_by_procfs<T: procfs::FromBufRead>(text: &[u8]) -> Option<T> {
    if !text.ends_with(b"\n") {
        return None;
    }
    T::from_buf_read(String::from_utf8_lossy(text).as_bytes()).ok()
}

/// Escapes all bytes that are not plain as mountinfo does: a backslash and three octal digits.
pub(super) fn escape(text: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for &byte in text {
        if is_plain(byte) {
            escaped.push(byte.into());
        } else {
            escaped.push('\\');
            escaped.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| char::from(b'0' + digit)));
        }
    }
    escaped
}

/// Undoes [`escape`].
pub(super) fn unescape(text: &str) -> OsString {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match tail {
            [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', tail @ ..] if byte == b'\\' => {
                Some((((high - b'0') << 6) | ((middle - b'0') << 3) | (low - b'0'), tail))
            }
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((byte, tail));
        plain.push(byte);
        rest = tail;
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_be_escaped_and_a_backslash_without_three_digits_stays() {
        let unescaped = |text: &[u8]| unescape(&escape(text, |byte| byte.is_ascii())).into_vec();
        assert_eq!(unescaped(b"/\\377\xfe\\012"), b"/\xff\xfe\n");
        assert_eq!(unescaped(b"\\400\\08\\9\\"), b"\\400\\08\\9\\");
    }
}
