//! Which way a block request moves data.

/// Bytes in a sector as the block layer counts them, whatever the device's own sector size is.
pub const SECTOR_BYTES: u64 = 512;

/// `REQ_OP_MASK`: the bits of `bio.bi_opf` that hold the operation. Source: `include/linux/blk_types.h`.
const REQ_OP_MASK: u32 = 0xff;
const REQ_OP_READ: u32 = 0;
const REQ_OP_WRITE: u32 = 1;

/// The direction of a request that moves data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

impl Direction {
    /// From `bio.bi_opf`. `None` for what moves no data of the process (flush, discard, write zeroes, zone
    /// management), and for appending to a zone, whose number differs between kernels.
    #[inline(always)]
    pub const fn from_opf(opf: u32) -> Option<Self> {
        match opf & REQ_OP_MASK {
            REQ_OP_READ => Some(Self::Read),
            REQ_OP_WRITE => Some(Self::Write),
            _ => None,
        }
    }

    /// From the first two characters of the classic tracepoints' `rwbs`: an `F` for "flush first", if there is
    /// one, then the operation. Source: `blk_fill_rwbs` in `kernel/trace/blktrace.c`.
    #[inline(always)]
    pub const fn from_rwbs(rwbs: [u8; 2]) -> Option<Self> {
        match rwbs {
            [b'R', _] | [b'F', b'R'] => Some(Self::Read),
            // Write zeroes; older kernels show them as `N`.
            [b'W', b'Z'] => None,
            [b'W', _] | [b'F', b'W'] => Some(Self::Write),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{self, Read, Write};

    #[test]
    fn only_reads_and_writes_move_data() {
        assert_eq!(Direction::from_opf(0), Some(Read));
        assert_eq!(Direction::from_opf(1), Some(Write));
        // REQ_SYNC | REQ_FUA | REQ_OP_WRITE
        assert_eq!(Direction::from_opf(1 | 1 << 11 | 1 << 17), Some(Write));
        for other in
            [2 /* flush */, 3 /* discard */, 5 /* secure erase */, 9 /* write zeroes */]
        {
            assert_eq!(Direction::from_opf(other), None, "{other}");
        }
    }

    #[test]
    fn rwbs_is_read_past_a_leading_flush() {
        assert_eq!(Direction::from_rwbs(*b"R\0"), Some(Read));
        assert_eq!(Direction::from_rwbs(*b"RA"), Some(Read));
        assert_eq!(Direction::from_rwbs(*b"WS"), Some(Write));
        assert_eq!(Direction::from_rwbs(*b"FW"), Some(Write));
        for other in [*b"WZ", *b"F\0", *b"FF", *b"FN", *b"D\0", *b"DE", *b"N\0", *b"\0\0"] {
            assert_eq!(Direction::from_rwbs(other), None, "{other:?}");
        }
    }
}
