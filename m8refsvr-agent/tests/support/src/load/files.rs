//! Files that are written and read, through the page cache and past it. They are in the current folder.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};

use super::threads;

const O_DIRECT: i32 = 0o40000;
/// Bytes in one write past the page cache.
pub const BLOCK: usize = 1 << 20;

/// Whether a file is on the disk before the process goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    Yes,
    No,
}

pub(super) fn write(bytes: usize, sync: Sync) -> Result<()> {
    let path = format!("written-{}", std::process::id());
    let mut file = File::create(&path)?;
    file.write_all(&vec![1; bytes])?;
    if sync == Sync::Yes {
        file.sync_data()?;
    }
    Ok(fs::remove_file(path)?)
}

/// Each thread has a file of its own: `written-PID-NUMBER`.
pub(super) fn write_direct(threads: usize, blocks: usize) -> Result<()> {
    in_threads("written", threads, move |path| overwrite(path, blocks))
}

/// As many requests as can be. Each thread has a file of its own.
pub(super) fn rewrite_direct(threads: usize, times: usize, bytes: usize) -> Result<()> {
    in_threads("rewritten", threads, move |path| {
        let file = direct(OpenOptions::new().create(true).write(true)).open(path)?;
        let mut memory = Vec::new();
        let block = aligned(&mut memory);
        Ok((0..times).try_for_each(|_| file.write_all_at(&block[..bytes], 0))?)
    })
}

pub(super) fn overwrite_direct(path: &str, blocks: usize) -> Result<()> {
    overwrite(Path::new(path), blocks)
}

fn overwrite(path: &Path, blocks: usize) -> Result<()> {
    let mut file = direct(OpenOptions::new().create(true).write(true)).open(path)?;
    let mut memory = Vec::new();
    let block = aligned(&mut memory);
    Ok((0..blocks).try_for_each(|_| file.write_all(block))?)
}

pub(super) fn read_direct(path: &str) -> Result<()> {
    let mut file = direct(OpenOptions::new().read(true)).open(path)?;
    let mut memory = Vec::new();
    let block = aligned(&mut memory);
    while file.read(block)? > 0 {}
    Ok(())
}

fn direct(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(O_DIRECT)
}

/// Does something to as many files by as many threads at once.
fn in_threads(
    name: &str,
    count: usize,
    work: impl Fn(&Path) -> Result<()> + Clone + Send + 'static,
) -> Result<()> {
    let paths = (0..count).map(|thread| PathBuf::from(format!("{name}-{}-{thread}", std::process::id())));
    let started: Vec<_> = paths
        .map(|path| {
            let work = work.clone();
            thread::spawn(move || work(&path))
        })
        .collect();
    let outcomes = threads::join(started)?;
    outcomes.into_iter().collect()
}

/// A block in memory as the device wants it for transfers past the page cache.
fn aligned(memory: &mut Vec<u8>) -> &mut [u8] {
    const ALIGNMENT: usize = 4096;
    memory.resize(BLOCK + ALIGNMENT, 0x5a);
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    &mut memory[start..start + BLOCK]
}

/// The bytes of pages that this process made dirty. These can be more than it wrote: the file system's own pages count
/// too, as those of a folder.
pub(super) fn written_by_this_process() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes in /proc/self/io")?.parse()?)
}
