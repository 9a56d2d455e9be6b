//! What the kernel's own accounting keeps of a process, as one table. From a row follow the field of the record, the
//! offsets that the agent looks up, and what the BPF programs read.
//!
//! A value is the sum of two members: that of `signal_struct` has the threads that have ended, and that of
//! `task_struct` has one thread.

use crate::{member::Member, table::table};

/// Calls the macro `$callback` with all rows: the field, the path of its member in `task_struct`, and that in
/// `signal_struct`.
///
/// The rows of `io` are members of `task_io_accounting`, in the order of the lines of `/proc/PID/io`. A kernel that was
/// built without them lacks them one by one (`CONFIG_TASK_IO_ACCOUNTING`, `CONFIG_TASK_XACCT`). When a process waits
/// for the end of a child, the kernel adds the child's values to the process's `signal_struct` (`wait_task_zombie` in
/// `kernel/exit.c`); with the other rows it does not.
#[macro_export]
macro_rules! accounting {
    ($callback:ident) => {
        $callback! {
            always {
                /// Time on a CPU, nanoseconds: exact.
                runtime: task.se.sum_exec_runtime, signal.sum_sched_runtime;
                /// Time in user mode, sampled by the clock tick: says how the exact time is to be divided.
                user: task.utime, signal.utime;
                /// Time in the kernel, sampled by the clock tick.
                system: task.stime, signal.stime;
                /// Page faults without input.
                minor_faults: task.min_flt, signal.min_flt;
                /// Page faults with input.
                major_faults: task.maj_flt, signal.maj_flt;
                /// Context switches in which a thread began to wait.
                voluntary: task.nvcsw, signal.nvcsw;
                /// Context switches in which a thread was preempted or yielded.
                involuntary: task.nivcsw, signal.nivcsw;
            }
            io {
                /// Bytes that read calls returned, from any file, pipe or socket.
                rchar: task.ioac.rchar, signal.ioac.rchar;
                /// Bytes that write calls took.
                wchar: task.ioac.wchar, signal.ioac.wchar;
                /// Read calls.
                syscr: task.ioac.syscr, signal.ioac.syscr;
                /// Write calls.
                syscw: task.ioac.syscw, signal.ioac.syscw;
                /// Bytes fetched from storage.
                read_bytes: task.ioac.read_bytes, signal.ioac.read_bytes;
                /// Bytes of pages made dirty.
                write_bytes: task.ioac.write_bytes, signal.ioac.write_bytes;
            }
        }
    };
}

macro_rules! define {
    (
        always {
            $($(#[$doc:meta])* $field:ident: task.$($task:ident).+, signal.$($signal:ident).+;)+
        }
        io {
            $($(#[$io_doc:meta])* $io_field:ident: task.$($io_task:ident).+, signal.$($io_signal:ident).+;)+
        }
    ) => {
        table! {
            /// What the kernel's own accounting has of a process: of its living threads and of those that have ended.
            /// As a record, 0 stands for what this kernel does not keep: see [`Accounting::known`].
            Accounting<u64> {
                $($(#[$doc])* $field,)+
                $($(#[$io_doc])* $io_field,)+
            }
        }

        table! {
            /// Those of the values to which the kernel adds what children had.
            IoAccounting<u64> {
                $($(#[$io_doc])* $io_field,)+
            }
        }

        impl Accounting<Member> {
            /// The members of `task_struct`.
            pub const OF_TASK: Self = Self {
                $($field: Member::new("task_struct", &[&[$(stringify!($task)),+]]),)+
                $($io_field: Member::new("task_struct", &[&[$(stringify!($io_task)),+]]),)+
            };
            /// The members of `signal_struct`.
            pub const OF_SIGNAL: Self = Self {
                $($field: Member::new("signal_struct", &[&[$(stringify!($signal)),+]]),)+
                $($io_field: Member::new("signal_struct", &[&[$(stringify!($io_signal)),+]]),)+
            };
        }

        impl Accounting<bool> {
            /// Which values every kernel keeps.
            pub const ALWAYS_KEPT: Self = Self { $($field: true,)+ $($io_field: false,)+ };
        }

        impl<T> Accounting<T> {
            /// The values to which the kernel adds what children had.
            pub fn io(self) -> IoAccounting<T> {
                IoAccounting { $($io_field: self.$io_field,)+ }
            }
        }
    };
}

accounting!(define);

impl Accounting {
    /// The values, `None` for those that are not in `kept`.
    pub fn known(self, kept: Accounting<bool>) -> Accounting<Option<u64>> {
        self.zip(kept, |value, is_kept| is_kept.then_some(value))
    }
}

impl IoAccounting {
    /// The sum, value by value; wraps.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, u64::wrapping_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_one_member_of_each_structure() {
        let Accounting { runtime, .. } = Accounting::OF_TASK;
        assert_eq!(
            (runtime.structure, runtime.paths),
            ("task_struct", &[&["se", "sum_exec_runtime"][..]][..])
        );
        let Accounting { write_bytes, .. } = Accounting::OF_SIGNAL;
        assert_eq!(
            (write_bytes.structure, write_bytes.paths),
            ("signal_struct", &[&["ioac", "write_bytes"][..]][..])
        );
        assert_eq!(Accounting::NAMES.minor_faults, "minor_faults");
    }

    #[test]
    fn what_the_kernel_does_not_keep_is_absent() {
        let values = Accounting { runtime: 7, ..Accounting::default() };
        let known = values.known(Accounting::ALWAYS_KEPT);
        assert_eq!((known.runtime, known.minor_faults, known.read_bytes), (Some(7), Some(0), None));
        assert_eq!(known.complete(), None);
        assert_eq!(values.known(Accounting::all(true)).complete(), Some(values));
    }

    #[test]
    fn values_of_io_are_taken_out() {
        let values = Accounting { runtime: 7, read_bytes: 3, ..Accounting::default() };
        assert_eq!(values.io(), IoAccounting { read_bytes: 3, ..IoAccounting::default() });
        let io = IoAccounting { write_bytes: u64::MAX, ..IoAccounting::all(3) };
        assert_eq!(io.plus(io), IoAccounting { write_bytes: u64::MAX - 1, ..IoAccounting::all(6) });
    }
}
