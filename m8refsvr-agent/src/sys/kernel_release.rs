//! Which Linux this is.

use rustix::system::uname;

/// Major and minor of the running kernel; `None` where its release does not begin with them.
pub(crate) fn version() -> Option<(u32, u32)> {
    version_of(&uname().release().to_string_lossy())
}

/// Major and minor of a release such as `5.10.0-46-cloud-amd64`.
pub(crate) fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version_of("5.10.0-46-cloud-amd64"), Some((5, 10)));
        assert_eq!(version_of("6.18.5+"), Some((6, 18)));
        assert_eq!(version_of("7.2"), Some((7, 2)));
        assert_eq!(version_of("next"), None);
    }
}
