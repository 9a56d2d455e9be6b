//! Reading what the kernel's accounting has of a process, by the table in `m8refsvr_common::accounting`.

use m8refsvr_common::accounting::{Accounting, IoAccounting};

use crate::{
    maps::add,
    offsets::{OFFSETS, Offset, read_u32, read_u64},
};

/// Writes the values of a process once, and returns whether all are of one moment. `__exit_signal` (`kernel/exit.c`)
/// adds a thread's values to those of `signal_struct`, and takes the thread out of `nr_threads`, under a sequence
/// lock.
///
/// # Safety
/// `values` is a record in a map that nobody else writes to.
#[inline(never)]
pub(super) unsafe fn write_at_once(signal: u64, leader: u64, values: *mut Accounting) -> bool {
    let sequence = read_u32(signal, &OFFSETS.signal.stats_lock);
    let leader = if read_u32(signal, &OFFSETS.signal.threads) == 0 { 0 } else { leader };
    // SAFETY: the caller's.
    unsafe { write_sums(values, signal, leader) };
    sequence & 1 == 0 && read_u32(signal, &OFFSETS.signal.stats_lock) == sequence
}

/// The value of the exited threads and that of the leader, if there is one. Wraps. Without a leader the second address is
/// in the first page, where nothing can be read: that is 0 without a branch.
#[inline(always)]
fn sum(signal: u64, of_exited: &Offset, leader: u64, of_leader: &Offset) -> u64 {
    read_u64(signal, of_exited).wrapping_add(read_u64(leader, of_leader))
}

/// Makes functions of the table of the kernel's accounting. They are straight-line code: the verifier of
/// Linux 5.10 refuses a loop that begins after a call.
macro_rules! accounting_functions {
    (
        always { $($(#[$doc:meta])* $field:ident: $($task:ident).+, $($signal:ident).+;)+ }
        io { $($(#[$io_doc:meta])* $io_field:ident: $($io_task:ident).+, $($io_signal:ident).+;)+ }
    ) => {
        /// Writes each value, as the sum of that of the exited threads and that of the leader.
        ///
        /// # Safety
        /// `values` is a record in a map that nobody else writes to.
        #[inline(always)]
        unsafe fn write_sums(values: *mut Accounting, signal: u64, leader: u64) {
            let (exited, thread) = (&OFFSETS.signal_accounting, &OFFSETS.task_accounting);
            // SAFETY: the caller's.
            unsafe {
                $((*values).$field = sum(signal, &exited.$field, leader, &thread.$field);)+
                $((*values).$io_field = sum(signal, &exited.$io_field, leader, &thread.$io_field);)+
            }
        }

        /// Writes the I/O of the exited threads.
        ///
        /// # Safety
        /// `io` is part of a record in a map that nobody else writes to.
        #[inline(always)]
        pub(super) unsafe fn write_io_of_exited(io: *mut IoAccounting, signal: u64) {
            // SAFETY: the caller's.
            unsafe { $((*io).$io_field = read_u64(signal, &OFFSETS.signal_accounting.$io_field);)+ }
        }

        /// Adds the I/O of a thread.
        ///
        /// # Safety
        /// `io` is part of a record in a map.
        #[inline(always)]
        pub(super) unsafe fn add_io_of_thread(io: *mut IoAccounting, task: u64) {
            // SAFETY: the caller's.
            unsafe { $(add(&raw mut (*io).$io_field, read_u64(task, &OFFSETS.task_accounting.$io_field));)+ }
        }
    };
}

m8refsvr_common::accounting!(accounting_functions);
