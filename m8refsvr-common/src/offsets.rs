//! The members of kernel structures that the BPF programs read, listed once for both sides. The agent looks up where
//! they lie in the running kernel, and writes all offsets to the BPF programs' one constant `OFFSETS` before it loads
//! them.

#![expect(missing_docs, reason = "most fields bear the names of the kernel's members")]

use crate::{accounting::Accounting, member::Member, table::table};

/// Stands for the offset of a member that this kernel does not have: no structure is so long.
pub const ABSENT: u32 = u32::MAX;

macro_rules! members {
    ($(#[$doc:meta])* $name:ident of $structure:literal {
        $($(#[$field_doc:meta])* $field:ident: $($($path:ident).+)|+;)+
    }) => {
        table! {
            $(#[$doc])*
            $name<u32> { $($(#[$field_doc])* $field,)+ }
        }

        impl $name<Member> {
            /// Where the fields' members are found.
            pub const MEMBERS: Self = Self {
                $($field: Member::new($structure, &[$(&[$(stringify!($path)),+]),+]),)+
            };
        }
    };
}

members! {
    /// Of a thread.
    TaskOffsets of "task_struct" {
        pid: pid;
        tgid: tgid;
        /// Before Linux 5.14 without underscores.
        state: __state | state;
        flags: flags;
        comm: comm;
        /// The thread's `signal_struct`.
        signal: signal;
        /// 0 once the kernel has added the thread's accounting to that of its process.
        sighand: sighand;
        group_leader: group_leader;
        /// Nanoseconds after boot.
        start: start_boottime;
        exit_code: exit_code;
        exit_state: exit_state;
        ptrace: ptrace;
    }
}

members! {
    /// Of what the threads of a process share. The BPF programs have all of them, or none where processes can't be
    /// followed.
    SignalOffsets of "signal_struct" {
        /// Threads that have not begun to exit.
        live: live;
        /// Threads of which the kernel has not let go.
        threads: nr_threads;
        /// The number of changes is the first member of this sequence lock.
        stats_lock: stats_lock;
        flags: flags;
        exit_code: group_exit_code;
        /// The most pages that the process has had in memory at once, of programs that it was before too.
        peak_pages: maxrss;
        /// The memory that the OOM killer has chosen.
        oom_memory: oom_mm;
    }
}

members! {
    /// Of a request to a block device.
    BioOffsets of "bio" {
        size: bi_iter.bi_size;
        opf: bi_opf;
    }
}

members! {
    /// In the record of the classic tracepoint `sched_switch`.
    SwitchRecordOffsets of "sched_switch" {
        prev_state: prev_state;
    }
}

members! {
    /// In the records of the classic tracepoints of block I/O.
    BlockRecordOffsets of "block_getrq" {
        nr_sector: nr_sector;
        rwbs: rwbs;
    }
}

macro_rules! groups {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $group:ident,)+ }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name<T = u32> {
            $($(#[$field_doc])* pub $field: $group<T>,)+
        }

        impl<T> $name<T> {
            /// How many members there are.
            pub const LENGTH: usize = 0 $(+ $group::<T>::LENGTH)+;

            /// With the same value for all members.
            pub const fn all(value: T) -> Self
            where
                T: Copy,
            {
                Self { $($field: $group::all(value),)+ }
            }

            /// What `change` makes of each member.
            pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> $name<U> {
                $name { $($field: self.$field.map(&mut change),)+ }
            }

            /// Calls `action` with each member, in the order in which they lie in memory.
            pub fn for_each(self, mut action: impl FnMut(T)) {
                $(self.$field.for_each(&mut action);)+
            }
        }

        const _: () = assert!(size_of::<$name<u32>>() == 4 * $name::<u32>::LENGTH);
    };
}

groups! {
    /// Where all members are that BPF programs read: the constant `OFFSETS`.
    Offsets {
        task: TaskOffsets,
        signal: SignalOffsets,
        /// The accounting of one thread, in `task_struct`.
        task_accounting: Accounting,
        /// The accounting of the threads that have ended, in `signal_struct`.
        signal_accounting: Accounting,
        bio: BioOffsets,
        switch_record: SwitchRecordOffsets,
        block_record: BlockRecordOffsets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_visited_in_the_order_in_which_they_lie_in_memory() {
        let mut next = 0_usize;
        let numbered = Offsets::all(()).map(|()| {
            next += 4;
            next - 4
        });
        assert_eq!(numbered.task.tgid, core::mem::offset_of!(Offsets, task.tgid));
        assert_eq!(
            numbered.signal_accounting.runtime,
            core::mem::offset_of!(Offsets, signal_accounting.runtime)
        );
        assert_eq!(numbered.block_record.rwbs, core::mem::offset_of!(Offsets, block_record.rwbs));
        let mut expected = 0_usize;
        numbered.for_each(|offset| {
            assert_eq!(offset, expected);
            expected += 4;
        });
        assert_eq!(expected, size_of::<Offsets>());
    }

    #[test]
    fn a_member_with_two_names_has_two_ways_to_it() {
        assert_eq!(TaskOffsets::MEMBERS.state.paths, [["__state"], ["state"]]);
        assert_eq!(BioOffsets::MEMBERS.size.paths, [["bi_iter", "bi_size"]]);
    }
}
