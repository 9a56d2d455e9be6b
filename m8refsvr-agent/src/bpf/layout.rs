//! Where the running kernel has what the BPF programs read, and what it passes at tracepoints: from its BTF and
//! tracefs.

use m8refsvr_common::{
    accounting::Accounting,
    member::Member,
    offsets::{
        ABSENT, BioOffsets, BlockRecordOffsets, Offsets, SignalOffsets, SwitchRecordOffsets, TaskOffsets,
    },
};

use crate::bpf::{
    btf::{Btf, Parameter},
    tracefs::Format,
};

/// What a kernel guards its tracepoints with when it leaves preemption on in their BPF programs, since Linux 7.0
/// (`__DECLARE_TRACE` in `include/linux/tracepoint.h`). Earlier ones have no such type.
const PREEMPTIBLE_GUARD: &str = "class_srcu_fast_notrace_t";

/// What is known of the running kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Whether a BPF program at a raw tracepoint can be preempted. While one is, the kernel skips that program for all
    /// other threads on that CPU. At classic tracepoints preemption is off.
    pub(crate) preempts_raw: bool,
    /// Whether that is so, and classic tracepoints are available.
    pub(crate) prefers_classic: bool,
    /// `sched_switch(preempt, prev, next, prev_state)`
    pub(crate) switch_passes_state: bool,
    /// `sched_switch(preempt, prev, next...)`
    pub(crate) switch_passes_task: bool,
    /// Where the tracepoints of block I/O pass the bio; `None` where they don't, or its members are not known.
    pub(crate) bio_place: Option<BioPlace>,
    /// Whether processes can be followed as they start and end: all that is needed for that is known.
    pub(crate) can_follow: bool,
    /// Which values the kernel's accounting keeps; none where processes can't be followed.
    pub(crate) kept: Accounting<bool>,
    /// Where the members are that the BPF programs read; `None` for those that this kernel does not have.
    pub(crate) offsets: Offsets<Option<u32>>,
}

/// Which argument of the raw tracepoints of block I/O is the bio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BioPlace {
    /// The first: Linux 5.11 and later.
    First,
    /// It follows the request queue, and in merges the request.
    AfterQueue,
}

impl Layout {
    /// Reads BTF and tracefs; what they don't have stays `None`.
    pub(crate) fn of_kernel() -> Self {
        let mut layout = match Btf::of_kernel() {
            Ok(btf) => Self::of_btf(&btf),
            Err(error) => {
                tracing::debug!("{error}; classic tracepoints need no BTF");
                Self::default()
            }
        };
        let can_be_classic = ["sched_process_exit", "sched_process_exec"]
            .iter()
            .all(|name| Format::read("sched", name).is_some());
        layout.prefers_classic = layout.preempts_raw && can_be_classic;
        let format = Format::read("sched", "sched_switch");
        layout.offsets.switch_record =
            SwitchRecordOffsets::MEMBERS.map(|member| in_record(format.as_ref(), member));
        let records = ["block_getrq", "block_bio_backmerge", "block_bio_frontmerge"].map(|name| {
            let format = Format::read("block", name);
            BlockRecordOffsets::MEMBERS.map(|member| in_record(format.as_ref(), member))
        });
        // One program reads them all.
        if records.iter().all(|record| *record == records[0]) {
            layout.offsets.block_record = records[0];
        }
        layout
    }

    fn of_btf(btf: &Btf) -> Self {
        let switch = btf.tracepoint("sched_switch").unwrap_or_default();
        let is_scalar = |parameter: Option<&Parameter>| parameter == Some(&Parameter::Scalar);
        let passes_task = is_scalar(switch.first()) && is_task(switch.get(1)) && is_task(switch.get(2));
        let find =
            |member: Member| member.paths.iter().find_map(|path| btf.member_offset(member.structure, path));
        let mut layout = Self {
            preempts_raw: btf.has_typedef(PREEMPTIBLE_GUARD),
            switch_passes_state: passes_task && is_scalar(switch.get(3)),
            switch_passes_task: passes_task,
            offsets: Offsets {
                task: TaskOffsets::MEMBERS.map(find),
                signal: SignalOffsets::MEMBERS.map(find),
                task_accounting: Accounting::OF_TASK.map(find),
                signal_accounting: Accounting::OF_SIGNAL.map(find),
                bio: BioOffsets::MEMBERS.map(find),
                switch_record: SwitchRecordOffsets::default(),
                block_record: BlockRecordOffsets::default(),
            },
            ..Self::default()
        };
        layout.bio_place = bio_place(btf).filter(|_| layout.offsets.bio.complete().is_some());
        layout.decide_lifecycle(passes_processes(btf));
        layout
    }

    /// Finds out whether processes can be followed. If not, the BPF programs get no offset by which they would.
    fn decide_lifecycle(&mut self, passes_processes: bool) {
        let offsets = &mut self.offsets;
        // A value of which one part is not known is not kept.
        let both = |task: Option<u32>, signal: Option<u32>| task.zip(signal).is_some();
        let kept = offsets.task_accounting.zip(offsets.signal_accounting, both);
        let keeps_enough =
            Accounting::ALWAYS_KEPT.zip(kept, |always, is_kept| (is_kept || !always).then_some(()));
        self.can_follow = passes_processes
            && offsets.task.complete().is_some()
            && offsets.signal.complete().is_some()
            && keeps_enough.complete().is_some();
        if !self.can_follow {
            offsets.signal = SignalOffsets::default();
        }
        self.kept = kept.map(|is_kept| is_kept && self.can_follow);
        let of_kept = |offset: Option<u32>, is_kept: bool| offset.filter(|_| is_kept);
        offsets.task_accounting = offsets.task_accounting.zip(self.kept, of_kept);
        offsets.signal_accounting = offsets.signal_accounting.zip(self.kept, of_kept);
    }

    /// All offsets as they lie in the BPF programs' constant.
    pub(crate) fn offset_values(&self) -> Vec<u32> {
        let mut values = Vec::with_capacity(Offsets::<u32>::LENGTH);
        self.offsets.for_each(|offset| values.push(offset.unwrap_or(ABSENT)));
        values
    }
}

/// Whether the tracepoints of starting processes pass what their BPF programs take.
fn passes_processes(btf: &Btf) -> bool {
    let fork = btf.tracepoint("sched_wakeup_new").unwrap_or_default();
    let rename = btf.tracepoint("task_rename").unwrap_or_default();
    is_task(fork.first())
        && is_task(rename.first())
        && matches!(rename.get(1), Some(Parameter::Pointer(_)))
        && btf.tracepoint("sched_process_exec").is_some()
}

fn is_task(parameter: Option<&Parameter>) -> bool {
    parameter.is_some_and(|parameter| *parameter == Parameter::Pointer(Some("task_struct".into())))
}

fn bio_place(btf: &Btf) -> Option<BioPlace> {
    let place = |name| {
        let parameters = btf.tracepoint(name)?;
        parameters.iter().position(|parameter| *parameter == Parameter::Pointer(Some("bio".into())))
    };
    match ["block_getrq", "block_bio_backmerge", "block_bio_frontmerge"].map(place) {
        [Some(0), Some(0), Some(0)] => Some(BioPlace::First),
        [Some(1), Some(2), Some(2)] => Some(BioPlace::AfterQueue),
        _ => None,
    }
}

/// Where a field is in the record of a classic tracepoint.
fn in_record(format: Option<&Format>, member: Member) -> Option<u32> {
    member.paths.iter().find_map(|path| format?.offset(path.first()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Layout {
        let mut offsets = Offsets::all(Some(8));
        offsets.bio = BioOffsets::default();
        Layout { offsets, ..Layout::default() }
    }

    #[test]
    fn processes_are_followed_where_all_members_are_known() {
        let mut layout = complete();
        layout.decide_lifecycle(true);
        assert!(layout.can_follow);
        assert_eq!(layout.kept, Accounting::all(true));
    }

    #[test]
    fn accounting_of_io_may_be_missing_and_is_then_not_read() {
        let mut layout = complete();
        layout.offsets.signal_accounting.write_bytes = None;
        layout.decide_lifecycle(true);
        assert!(layout.can_follow && layout.kept.read_bytes && !layout.kept.write_bytes);
        assert_eq!(layout.offsets.task_accounting.write_bytes, None);
        assert_eq!(layout.offsets.task_accounting.read_bytes, Some(8));
    }

    #[test]
    fn programs_get_no_offset_of_processes_where_one_that_is_needed_is_missing() {
        let without: [fn(&mut Layout); 4] = [
            |layout| layout.offsets.signal.oom_memory = None,
            |layout| layout.offsets.task.ptrace = None,
            |layout| layout.offsets.task_accounting.runtime = None,
            |_| {},
        ];
        for (at, remove) in without.into_iter().enumerate() {
            let mut layout = complete();
            remove(&mut layout);
            layout.decide_lifecycle(at < 3);
            assert!(!layout.can_follow, "{at}");
            assert_eq!(layout.kept, Accounting::default());
            assert_eq!(layout.offsets.signal, SignalOffsets::default());
            assert_eq!(layout.offsets.signal_accounting, Accounting::default());
        }
    }

    #[test]
    fn what_the_kernel_does_not_have_is_marked_for_the_programs() {
        let values = complete().offset_values();
        assert_eq!(values.len(), Offsets::<u32>::LENGTH);
        assert_eq!(values.iter().filter(|&&offset| offset == ABSENT).count(), BioOffsets::<u32>::LENGTH);
    }
}
