//! Whether a process's `comm` holds a name that the user gave, whatever the case of its letters: decided alike in the
//! kernel, when a program is executed, and in tests. Sixteen bytes are two words, and a name is found by shifting them.

/// Bytes of `comm`, its terminating zero included: `TASK_COMM_LEN` in `include/linux/sched.h`.
pub const COMM_BYTES: usize = 16;

/// How the names of the agent begin: with its version behind it, or what its package's scripts are called, they are its
/// own all the same. No process of such a name is tracked.
pub const OWN: &str = "m8refsvr-agent";

/// How many names the kernel compares; further ones are left to the agent.
pub const MAX_NAMES: u32 = 32;

/// A name to be found in a `comm`: an element of `NAMES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// Its letters, small ones, with zeros up to 16 bytes.
    pub letters: [u64; 2],
    /// All bits set of each byte that the name has.
    pub mask: [u64; 2],
}

impl Name {
    /// `None` for a name that the kernel can't find: an empty one, one longer than a `comm`, one that is not ASCII.
    pub fn new(name: &str) -> Option<Self> {
        if name.is_empty() || name.len() >= COMM_BYTES || !name.is_ascii() || name.contains('\0') {
            return None;
        }
        let (mut letters, mut mask) = ([0; COMM_BYTES], [0; COMM_BYTES]);
        for (at, byte) in name.bytes().enumerate() {
            letters[at] = byte;
            mask[at] = 0xff;
        }
        Some(Self { letters: small(words(letters)), mask: words(mask) })
    }

    /// Whether a `comm` in small letters holds it.
    #[inline(always)]
    pub const fn is_in(&self, comm: [u64; 2]) -> bool {
        let [mut low, mut high] = comm;
        let mut at = 0;
        while at < COMM_BYTES {
            if (low & self.mask[0]) == self.letters[0] && (high & self.mask[1]) == self.letters[1] {
                return true;
            }
            // One letter further on.
            low = low >> 8 | high << 56;
            high >>= 8;
            at += 1;
        }
        false
    }
}

/// Whether a `comm` begins as the agent's names do.
#[inline(always)]
pub const fn is_own([low, high]: [u64; 2]) -> bool {
    const NAME: [u64; 2] = words(*b"m8refsvr-agent\0\0");
    // What follows the name may be anything.
    low == NAME[0] && high & (u64::MAX >> 16) == NAME[1]
}

/// A `comm` as two words, as its bytes lie in the memory of a little-endian machine.
#[inline(always)]
pub const fn words(comm: [u8; COMM_BYTES]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = comm;
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])]
}

/// The bytes of a `comm` that is kept as two words, up to its end.
pub fn bytes(comm: [u64; 2]) -> ([u8; COMM_BYTES], usize) {
    let mut bytes = [0; COMM_BYTES];
    for (part, word) in bytes.chunks_exact_mut(8).zip(comm) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(COMM_BYTES);
    (bytes, length)
}

/// With all ASCII letters small.
#[inline(always)]
pub const fn small([low, high]: [u64; 2]) -> [u64; 2] {
    [small_word(low), small_word(high)]
}

/// Eight bytes at once: a byte's highest bit says that it is at least `A`, at most `Z`, and ASCII; moved to the place
/// of the bit 0x20, it makes a capital small.
#[inline(always)]
const fn small_word(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGHEST: u64 = EACH << 7;
    let seven = word & !HIGHEST;
    let from_a = seven + EACH * (0x80 - b'A' as u64);
    let after_z = seven + EACH * (0x80 - b'Z' as u64 - 1);
    word | (from_a & !after_z & !word & HIGHEST) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comm(text: &[u8]) -> [u64; 2] {
        let mut bytes = [0; COMM_BYTES];
        bytes[..text.len()].copy_from_slice(text);
        words(bytes)
    }

    fn holds(text: &str, name: &str) -> bool {
        Name::new(name).unwrap().is_in(small(comm(text.as_bytes())))
    }

    #[test]
    fn a_name_is_found_anywhere_whatever_the_case() {
        assert!(holds("M8RefSvr", "m8refsvr") && holds("m8refsvr", "M8REFSVR"));
        assert!(holds("xx-M8RefSvr_64", "M8RefSvr") && holds("1234567M8RefSvr", "M8RefSvr"));
        assert!(holds("abcdefghijklmno", "abcdefghijklmno") && holds("abcdefghijklmno", "o"));
        assert!(!holds("M8RefSv", "M8RefSvr") && !holds("", "a") && !holds("M8-RefSvr", "M8RefSvr"));
        // Across the two words.
        assert!(holds("1234567abc", "7ab") && !holds("1234567abc", "7aab"));
    }

    #[test]
    fn every_place_agrees_with_a_search_in_text() {
        let text = "aXbaxBAXbxab-_9";
        for start in 0..text.len() {
            for end in start + 1..=text.len() {
                let name = &text[start..end];
                for other in ["aXbaxBAXbxab-_9", "axb", "zzzzzzzzzzzzzzz", "AXB9", "-_9aXbaxBAXbxab"] {
                    let expected = other.to_ascii_lowercase().contains(&name.to_ascii_lowercase());
                    assert_eq!(holds(other, name), expected, "{name} in {other}");
                }
            }
        }
    }

    #[test]
    fn a_name_is_the_agents_by_its_beginning() {
        let names = ["m8refsvr-agent", "m8refsvr-agent.", "m8refsvr-agent-", "m8refsvr-agent2"];
        let others = ["", "M8RefSvr", "m8refsvr-agen", "m8refsvr-agenT", "M8refsvr-agent", "xm8refsvr-agent"];
        for name in names.into_iter().chain(others) {
            assert_eq!(is_own(comm(name.as_bytes())), name.starts_with(OWN), "{name}");
        }
    }

    #[test]
    fn only_ascii_capitals_are_made_small() {
        for byte in 0..=255_u8 {
            let expected = words([byte.to_ascii_lowercase(); COMM_BYTES]);
            assert_eq!(small(words([byte; COMM_BYTES])), expected, "{byte:#x}");
        }
    }

    #[test]
    fn what_the_kernel_cannot_find_is_no_name() {
        assert!(Name::new("abcdefghijklmno").is_some());
        for name in ["", "abcdefghijklmnop", "M8R\u{e9}f", "a\0b"] {
            assert_eq!(Name::new(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_comm_is_read_up_to_its_end() {
        let (bytes, length) = bytes(comm(b"M8RefSvr"));
        assert_eq!(&bytes[..length], b"M8RefSvr");
    }
}
