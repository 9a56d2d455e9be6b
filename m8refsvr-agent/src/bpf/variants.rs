//! In which variant a hook is attached: decided by what the kernel has, the cheapest first.

use m8refsvr_common::{offsets::Offsets, signal::Variant};

use crate::bpf::layout::{BioPlace, Layout};

/// The variants in which context switches are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchVariant {
    /// The raw tracepoint passes the state of the thread that leaves the CPU: Linux 5.18 and later.
    RawWithState,
    /// The raw tracepoint passes no state: it is read from the running thread, by a pointer that the verifier
    /// trusts. Linux 5.11 and later.
    RawWithCurrent,
    /// The raw tracepoint passes the thread only, and its state is read from there by a helper.
    RawWithTask,
    /// The classic tracepoint: needs tracefs, but no BTF.
    Classic,
}

impl SwitchVariant {
    /// All of them, the cheapest first.
    pub const CHEAPEST_FIRST: [Self; 4] =
        [Self::RawWithState, Self::RawWithCurrent, Self::RawWithTask, Self::Classic];

    /// Names of the BPF programs in the object, and the tracepoints that they are attached to; that of exiting threads
    /// first, so that none is counted without it.
    pub(crate) fn programs(self, is_exit_classic: bool) -> [(&'static str, &'static [&'static str]); 2] {
        let exit = if is_exit_classic { "thread_exit_classic" } else { "thread_exit" };
        let program = match self {
            Self::RawWithState => "sched_switch",
            Self::RawWithCurrent => "sched_switch_current",
            Self::RawWithTask => "sched_switch_task",
            Self::Classic => "sched_switch_classic",
        };
        [(exit, &["sched_process_exit"]), (program, &["sched_switch"])]
    }

    /// How its BPF programs are attached.
    pub(crate) fn attachment(self) -> Variant {
        match self {
            Self::RawWithState | Self::RawWithCurrent | Self::RawWithTask => Variant::RawTracepoint,
            Self::Classic => Variant::Tracepoint,
        }
    }

    /// Whether this variant reads the right members on this kernel; else why not. When a raw tracepoint is attached,
    /// the kernel checks at most the number of its arguments: with other arguments the program would read garbage.
    pub(crate) fn fits(self, layout: &Layout) -> Result<(), &'static str> {
        let Offsets { task, switch_record, .. } = &layout.offsets;
        let knows_exit = task.flags.is_some() && task.sighand.is_some();
        let knows_state = task.state.is_some() && layout.switch_passes_task;
        match self {
            Self::RawWithState if layout.switch_passes_state && knows_exit => Ok(()),
            Self::RawWithState => Err("the kernel's BTF shows no sched_switch that passes the state"),
            Self::RawWithCurrent if knows_state && knows_exit => Ok(()),
            Self::RawWithTask if knows_state => Ok(()),
            Self::RawWithCurrent | Self::RawWithTask => {
                Err("the kernel's BTF shows no sched_switch with a task and no state in it")
            }
            Self::Classic if switch_record.prev_state.is_some() => Ok(()),
            Self::Classic => Err("tracefs shows no sched_switch, is not mounted, or may not be read"),
        }
    }
}

/// The variants in which block I/O is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockVariant {
    /// Raw tracepoints that pass the bio first; it is read by offsets from the kernel's BTF. Linux 5.11 and later.
    Raw,
    /// The same, where the bio follows the request queue.
    RawWithQueue,
    /// Classic tracepoints: need tracefs, but no BTF.
    Classic,
}

impl BlockVariant {
    /// All of them, the cheapest first.
    pub const CHEAPEST_FIRST: [Self; 3] = [Self::Raw, Self::RawWithQueue, Self::Classic];

    /// Name of the program in the object, and the tracepoint that it is attached to.
    pub(crate) fn programs(self) -> [(&'static str, &'static [&'static str]); 2] {
        const MERGES: &[&str] = &["block_bio_backmerge", "block_bio_frontmerge"];
        match self {
            Self::Raw => [("block_getrq", &["block_getrq"]), ("block_merge", MERGES)],
            Self::RawWithQueue => [("block_getrq_queue", &["block_getrq"]), ("block_merge_queue", MERGES)],
            Self::Classic => [("block_getrq_classic", &["block_getrq"]), ("block_merge_classic", MERGES)],
        }
    }

    /// How its BPF programs are attached.
    pub(crate) fn attachment(self) -> Variant {
        match self {
            Self::Raw | Self::RawWithQueue => Variant::RawTracepoint,
            Self::Classic => Variant::Tracepoint,
        }
    }

    /// The variants in the order in which they are to be tried: as given, or the classic one first where programs at
    /// raw tracepoints can be skipped.
    pub(crate) fn order(variants: &[Self], layout: &Layout) -> Vec<Self> {
        let mut variants = variants.to_vec();
        // A stable sort: the others stay as they are.
        variants.sort_by_key(|variant| layout.preempts_raw && *variant != Self::Classic);
        variants
    }

    /// Whether this variant reads the right members on this kernel; else why not.
    pub(crate) fn fits(self, layout: &Layout) -> Result<(), &'static str> {
        match self {
            Self::Raw if layout.bio_place == Some(BioPlace::First) => Ok(()),
            Self::RawWithQueue if layout.bio_place == Some(BioPlace::AfterQueue) => Ok(()),
            Self::Raw | Self::RawWithQueue => {
                Err("the kernel's BTF shows no block_getrq and merges with a bio in that place")
            }
            Self::Classic if layout.offsets.block_record.complete().is_some() => Ok(()),
            Self::Classic => Err("tracefs shows no block_getrq, is not mounted, or may not be read"),
        }
    }
}

/// The programs that follow processes as they start and execute other programs, and their tracepoints. That they end is
/// seen where switches are counted.
///
/// `task_rename` has no classic variant, as that record lacks the id of the process. Where it is not attached, an exec
/// still reports a new name, and the next scan of /proc finds the others.
pub(crate) fn lifecycle(is_exec_classic: bool) -> [(&'static str, &'static [&'static str]); 3] {
    let exec = if is_exec_classic { "process_exec_classic" } else { "process_exec" };
    [
        (exec, &["sched_process_exec"]),
        ("process_fork", &["sched_wakeup_new"]),
        ("process_rename", &["task_rename"]),
    ]
}

#[cfg(test)]
mod tests {
    use m8refsvr_common::offsets::{SwitchRecordOffsets, TaskOffsets};

    use super::*;

    /// Where a kernel has the members that are read at a context switch.
    fn offsets(task_state: u32) -> Offsets<Option<u32>> {
        Offsets {
            task: TaskOffsets {
                state: Some(task_state),
                flags: Some(44),
                sighand: Some(2500),
                ..TaskOffsets::default()
            },
            ..classic_offsets()
        }
    }

    fn classic_offsets() -> Offsets<Option<u32>> {
        Offsets { switch_record: SwitchRecordOffsets { prev_state: Some(32) }, ..Offsets::default() }
    }

    fn chosen(layout: &Layout) -> Option<SwitchVariant> {
        SwitchVariant::CHEAPEST_FIRST.into_iter().find(|variant| variant.fits(layout).is_ok())
    }

    #[test]
    fn a_kernel_that_passes_the_state_gets_the_cheapest_variant() {
        let layout = Layout {
            switch_passes_state: true,
            switch_passes_task: true,
            offsets: offsets(24),
            ..Layout::default()
        };
        assert_eq!(chosen(&layout), Some(SwitchVariant::RawWithState));
    }

    #[test]
    fn a_kernel_that_passes_no_state_gets_it_read_from_the_task() {
        let layout = Layout { switch_passes_task: true, offsets: offsets(16), ..Layout::default() };
        assert_eq!(chosen(&layout), Some(SwitchVariant::RawWithCurrent));
        // Where the verifier refuses that, the next one fits too.
        assert!(SwitchVariant::RawWithTask.fits(&layout).is_ok());
    }

    #[test]
    fn the_classic_variant_of_block_io_comes_first_where_raw_ones_can_be_skipped() {
        let variants = BlockVariant::CHEAPEST_FIRST;
        assert_eq!(BlockVariant::order(&variants, &Layout::default()), variants);
        let preempts = Layout { preempts_raw: true, ..Layout::default() };
        assert_eq!(
            BlockVariant::order(&variants, &preempts),
            [BlockVariant::Classic, BlockVariant::Raw, BlockVariant::RawWithQueue]
        );
        assert_eq!(BlockVariant::order(&[BlockVariant::Raw], &preempts), [BlockVariant::Raw]);
    }

    #[test]
    fn a_kernel_without_btf_gets_the_classic_variant_and_one_without_tracefs_none() {
        assert_eq!(
            chosen(&Layout { offsets: classic_offsets(), ..Layout::default() }),
            Some(SwitchVariant::Classic)
        );
        assert_eq!(chosen(&Layout::default()), None);
        assert!(BlockVariant::Raw.fits(&Layout::default()).is_err());
        let old = Layout { bio_place: Some(BioPlace::AfterQueue), ..Layout::default() };
        assert!(BlockVariant::Raw.fits(&old).is_err() && BlockVariant::RawWithQueue.fits(&old).is_ok());
        let new = Layout { bio_place: Some(BioPlace::First), ..Layout::default() };
        assert!(BlockVariant::Raw.fits(&new).is_ok() && BlockVariant::RawWithQueue.fits(&new).is_err());
        assert!(BlockVariant::Classic.fits(&Layout::default()).is_err());
    }
}
