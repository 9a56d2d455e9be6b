//! The I/O of one process without that of its children. When a process reaps a child, the kernel adds the child's I/O
//! to the process (`wait_task_zombie` in `kernel/exit.c`). Where the child is tracked too, that would count twice. Then
//! the I/O is read thread by thread, and the BPF programs keep that of exited threads.

use std::{thread::sleep, time::Duration};

use crate::{
    bpf::{Kernel, SlotHandle},
    proc::{
        Process, Unreadable,
        io::{self, IoAccounting},
    },
};

/// Attempts to read while threads of the process exit.
const ATTEMPTS: usize = 20;

/// Time to wait, until the next collection and for all parents together, for children whose exit record is not written
/// yet. A child whose exit the BPF programs missed must delay neither collections nor events.
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
    /// Waits for something until the time is used up.
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

/// What the process had before its I/O was read thread by thread, so that the sums continue. Added with wrap-around, as
/// it can be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IoBaseline(IoAccounting);

impl IoBaseline {
    /// For a process that has tracked children now. `of_children` returns the I/O of children that it has reaped, or
    /// `None` while the exit record of one is not written yet. Returns `None` where the baseline can't be found.
    pub(crate) fn of(
        process: &Process,
        kernel: &Kernel,
        handle: &SlotHandle,
        of_children: impl Fn() -> Option<IoAccounting>,
        patience: &mut Patience,
        buffer: &mut Vec<u8>,
    ) -> Option<Self> {
        for _ in 0..ATTEMPTS {
            let children = patience.wait_for(&of_children)?;
            let all = io::read(process, buffer).ok()?;
            let own = own(process, kernel, handle, buffer).ok()?;
            if of_children() == Some(children) {
                // The kernel adds nothing for children that it reaps itself.
                return Some(Self(all.zip(own, u64::saturating_sub).zip(children, u64::saturating_sub)));
            }
        }
        None
    }

    /// The I/O of a process, from that of its own threads.
    pub(crate) fn with(self, own: IoAccounting) -> IoAccounting {
        own.plus(self.0)
    }
}

/// Reads the I/O of a process: that of reaped children included, unless there is a `baseline`.
pub(crate) fn read(
    process: &Process,
    baseline: Option<IoBaseline>,
    in_kernel: Option<(&Kernel, &SlotHandle)>,
    buffer: &mut Vec<u8>,
) -> Result<IoAccounting, Unreadable> {
    let Some((baseline, (kernel, handle))) = baseline.zip(in_kernel) else {
        return io::read(process, buffer);
    };
    let own = own(process, kernel, handle, buffer)?;
    Ok(baseline.with(own))
}

/// The I/O of the living threads, and of those that exited since the process is tracked.
fn own(
    process: &Process,
    kernel: &Kernel,
    handle: &SlotHandle,
    buffer: &mut Vec<u8>,
) -> Result<IoAccounting, Unreadable> {
    for _ in 0..ATTEMPTS {
        let Some(before) = kernel.own_io(handle) else {
            // The last steps of a thread take microseconds.
            std::thread::yield_now();
            continue;
        };
        let threads = io::read_threads(process, buffer)?;
        if kernel.own_io(handle) == Some(before) {
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
    fn a_record_that_never_comes_is_waited_for_once_until_the_next_collection() {
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
