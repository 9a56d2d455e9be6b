//! Requests as they are sent, compressed or not, over either protocol.

use bytes::{Buf as _, Bytes, buf::Chain};

use super::gzip::Gzip;

/// A piece of memory of this size is the system's: only what was written to is there, and nothing of it is kept when it
/// is given back.
pub(super) const LARGE: usize = 128 << 10;

/// How requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By gzip.
    Gzip,
    /// Not at all.
    None,
}

/// A request as it is sent, as often as that takes.
#[derive(Clone, Debug)]
pub struct Message {
    compression: Compression,
    /// Its bytes, in two parts.
    front: Bytes,
    rest: Bytes,
}

impl Message {
    /// Of a request that is there as a whole.
    pub fn new(plain: &[u8], compression: Compression) -> Self {
        let mut body = Body::new(compression);
        body.append(plain);
        body.end(Vec::new())
    }

    /// How it is compressed.
    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> Chain<Bytes, Bytes> {
        self.front.clone().chain(self.rest.clone())
    }
}

/// A request as it is made: its beginning is told last, and what comes behind it is compressed as it comes. It is never
/// in memory uncompressed, unless it is sent like that.
#[derive(Debug)]
pub(super) enum Body {
    /// For [`Compression::Gzip`].
    Gzip(Gzip),
    /// For [`Compression::None`].
    Plain(Vec<u8>),
}

impl Body {
    pub(super) fn new(compression: Compression) -> Self {
        match compression {
            Compression::Gzip => Self::Gzip(Gzip::new()),
            Compression::None => Self::Plain(Vec::new()),
        }
    }

    /// Comes next.
    pub(super) fn append(&mut self, plain: &[u8]) {
        match self {
            Self::Gzip(gzip) => gzip.append(plain),
            Self::Plain(bytes) => bytes.extend_from_slice(plain),
        }
    }

    /// The whole of it, with this beginning.
    pub(super) fn end(self, beginning: Vec<u8>) -> Message {
        let (compression, [front, rest]) = match self {
            Self::Gzip(gzip) => (Compression::Gzip, gzip.end(&beginning)),
            Self::Plain(rest) => (Compression::None, [beginning, rest]),
        };
        Message { compression, front: front.into(), rest: rest.into() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::gzip::tests::inflated, *};

    /// What receivers make of it.
    pub(in super::super) fn plain(message: &Message) -> Bytes {
        let mut bytes = message.bytes();
        let bytes = bytes.copy_to_bytes(bytes.remaining());
        match message.compression {
            Compression::Gzip => inflated(&bytes).into(),
            Compression::None => bytes,
        }
    }
}
