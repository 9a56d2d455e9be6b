//! Open file descriptors.

use std::{fs::File, os::fd::OwnedFd, os::unix::net::UnixStream};

use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open until they are closed, or the process ends.
#[derive(Default)]
pub(super) struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    pub(super) fn open_files(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.0.push(File::open("/dev/null")?.into());
        }
        Ok(())
    }

    pub(super) fn open_pipes_and_sockets(&mut self, count: usize) -> Result<()> {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
        for _ in 0..count {
            let (reader, writer) = std::io::pipe()?;
            self.0.extend([reader.into(), writer.into()]);
            let (one, other) = UnixStream::pair()?;
            self.0.extend([one.into(), other.into()]);
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.0.clear();
    }
}
