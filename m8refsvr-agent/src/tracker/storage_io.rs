//! Storage I/O of one process. The kernel adds to a process what its children had when it has waited for their end
//! (`wait_task_zombie` in `kernel/exit.c`): of a process whose children match too, that would count twice. It is then
//! read thread by thread, and the programs keep what threads had that have ended.

use std::{thread::sleep, time::Duration};

use crate::{
    bpf::{Kernel, SlotHandle},
    proc::{
        Process, Unreadable,
        io::{self, StorageIo},
    },
};

/// How often reading is tried while threads of the process end.
const ATTEMPTS: usize = 20;

/// How long is waited until the next collection for children that have not told what they had, all parents together: one
/// that never tells, as the programs missed its end, shall delay neither looks nor events.
#[derive(Debug)]
pub(crate) struct Patience {
    milliseconds: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { milliseconds: 100 }
    }
}

impl Patience {
    /// Waits for something, as long as there is patience.
    fn wait_for<T>(&mut self, what: impl Fn() -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = what() {
                return Some(found);
            }
            self.milliseconds = self.milliseconds.checked_sub(1)?;
            // Microseconds would do, unless something else is run first on that CPU.
            sleep(Duration::from_millis(1));
        }
    }
}

/// What to add (wrapping) to what a process itself had, so that it continues what it and its children had before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offset(StorageIo);

impl Offset {
    /// Of a process that now has matching children. `of_children` tells what those had that it has waited for already;
    /// `None` while one of them has yet to leave its CPU for the last time, and so to tell what it had. `None` where it
    /// can't be told.
    pub(crate) fn of(
        process: &Process,
        kernel: &Kernel,
        watch: &SlotHandle,
        of_children: impl Fn() -> Option<StorageIo>,
        patience: &mut Patience,
        buffer: &mut Vec<u8>,
    ) -> Option<Self> {
        for _ in 0..ATTEMPTS {
            let children = patience.wait_for(&of_children)?;
            let all = io::read(process, buffer).ok()?;
            let own = own(process, kernel, watch, buffer).ok()?;
            if of_children() == Some(children) {
                // Of what nobody waited for nothing was added.
                return Some(Self(all.zip(own, u64::saturating_sub).zip(children, u64::saturating_sub)));
            }
        }
        None
    }

    /// With what the threads of a process had of which the last has ended.
    pub(crate) fn with(self, own: StorageIo) -> StorageIo {
        own.plus(self.0)
    }
}

/// Reads what a process had: with its children where there is no offset, else without.
pub(crate) fn read(
    process: &Process,
    offset: Option<Offset>,
    watched: Option<(&Kernel, &SlotHandle)>,
    buffer: &mut Vec<u8>,
) -> Result<StorageIo, Unreadable> {
    let Some((offset, (kernel, watch))) = offset.zip(watched) else {
        return io::read(process, buffer);
    };
    let own = own(process, kernel, watch, buffer)?;
    Ok(offset.with(own))
}

/// What the living threads of a process had, and those that have ended since it is watched.
fn own(
    process: &Process,
    kernel: &Kernel,
    watch: &SlotHandle,
    buffer: &mut Vec<u8>,
) -> Result<StorageIo, Unreadable> {
    for _ in 0..ATTEMPTS {
        let Some(before) = kernel.own_io(watch) else {
            // The last steps of a thread take microseconds.
            std::thread::yield_now();
            continue;
        };
        let threads = io::read_threads(process, buffer)?;
        if kernel.own_io(watch) == Some(before) {
            return Ok(threads.plus(before));
        }
    }
    Err(Unreadable::Unknown)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_never_tells_is_waited_for_once_until_the_next_look() {
        let mut patience = Patience::default();
        let asked = Cell::new(0);
        let never = || {
            asked.set(asked.get() + 1);
            None::<()>
        };
        assert_eq!(patience.wait_for(never), None);
        assert_eq!(asked.replace(0), 101);
        for others in 1..=1000 {
            assert_eq!(patience.wait_for(never), None);
            assert_eq!(asked.get(), others);
        }
        assert_eq!(patience.wait_for(|| Some(7)), Some(7));
    }
}
