//! A gzip file (RFC 1952) whose beginning is told last. What comes behind it is compressed as it comes; the beginning
//! then stands before that in blocks that are not compressed (RFC 1951, 3.2.4). Both are one member, as many receivers
//! read no more than the first.

use std::io::Write as _;

use flate2::{Compression, Crc, write::DeflateEncoder};

use super::compression::LARGE;

/// Series that are named alike hardly become shorter by looking for longer: with those of each of 1,000 processes level
/// 3 takes twice as long for a twentieth less, and the default, 6, five times as long for a sixth less.
const LEVEL: Compression = Compression::new(2);
/// Deflate, no optional fields, no time, nothing to tell of the level, of an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// Before a block: it is not the last, and not compressed.
const STORED: u8 = 0;
/// Bytes of such a block at most.
const LONGEST: usize = 65_535;

/// What has come.
#[derive(Debug)]
pub(super) struct Gzip {
    deflate: DeflateEncoder<Vec<u8>>,
    crc: Crc,
}

impl Gzip {
    pub(super) fn new() -> Self {
        Self { deflate: DeflateEncoder::new(Vec::with_capacity(LARGE), LEVEL), crc: Crc::new() }
    }

    /// Comes next.
    pub(super) fn append(&mut self, plain: &[u8]) {
        self.crc.update(plain);
        // Memory takes everything.
        let _ = self.deflate.write_all(plain);
    }

    /// The file, in two parts: up to where this beginning ends, and from there on.
    pub(super) fn end(self, beginning: &[u8]) -> [Vec<u8>; 2] {
        let mut front = HEADER.to_vec();
        for block in beginning.chunks(LONGEST) {
            let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
            front.push(STORED);
            front.extend(length.to_le_bytes());
            front.extend((!length).to_le_bytes());
            front.extend_from_slice(block);
        }
        let mut crc = Crc::new();
        crc.update(beginning);
        crc.combine(&self.crc);
        let mut rest = self.deflate.finish().unwrap_or_default();
        rest.extend(crc.sum().to_le_bytes());
        // Modulo 2^32, as the format has it.
        rest.extend(crc.amount().to_le_bytes());
        [front, rest]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read as _;

    use flate2::bufread::GzDecoder;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// What is in a file, which must be one member and nothing behind it.
    pub(in super::super) fn inflated(file: &[u8]) -> Vec<u8> {
        let mut decoder = GzDecoder::new(file);
        let mut plain = Vec::new();
        decoder.read_to_end(&mut plain).unwrap();
        assert!(decoder.into_inner().is_empty(), "something is behind the first member");
        plain
    }

    fn file(parts: &[&[u8]], beginning: &[u8]) -> Vec<u8> {
        let mut gzip = Gzip::new();
        parts.iter().for_each(|part| gzip.append(part));
        gzip.end(beginning).concat()
    }

    #[test]
    fn a_beginning_may_be_empty_and_longer_than_a_block() {
        for length in [0, 1, LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST, 3 * LONGEST + 7] {
            let beginning: Vec<u8> = (0..=250).cycle().take(length).collect();
            assert_eq!(inflated(&file(&[], &beginning)), beginning);
            assert_eq!(inflated(&file(&[b"behind"], &beginning)), [&beginning[..], b"behind"].concat());
        }
    }

    #[test]
    fn a_file_that_arrives_broken_is_refused() {
        let whole = file(&[b"some", b"thing"], b"beginning of ");
        let last = whole.len() - 1;
        for place in [0, HEADER.len() + 5, last - 7, last] {
            let mut broken = whole.clone();
            broken[place] ^= 1;
            assert!(GzDecoder::new(&broken[..]).read_to_end(&mut Vec::new()).is_err(), "{place}");
        }
    }

    proptest! {
        #[test]
        fn what_was_told_is_in_the_file(
            parts in vec(vec(any::<u8>(), 0..2000), 0..20),
            beginning in vec(any::<u8>(), 0..1000),
        ) {
            let told: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(inflated(&file(&told, &beginning)), [beginning, parts.concat()].concat());
        }
    }
}
