//! In which form a hook is attached: decided from what the kernel tells of itself, cheapest first.

use m8refsvr_common::record::Variant;

use crate::bpf::{
    btf::{Btf, Parameter},
    tracefs,
};

/// What a kernel guards its tracepoints with when it leaves preemption on in their programs, since Linux 7.0
/// (`__DECLARE_TRACE` in `include/linux/tracepoint.h`). Earlier ones have no such type.
const PREEMPTIBLE_GUARD: &str = "class_srcu_fast_notrace_t";

/// The ways to count context switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchForm {
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

impl SwitchForm {
    /// All of them, the cheapest first.
    pub const CHEAPEST_FIRST: [Self; 4] =
        [Self::RawWithState, Self::RawWithCurrent, Self::RawWithTask, Self::Classic];

    /// Names of the programs in the object, and the tracepoints that they are attached to; that of exiting threads
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

    /// What the user is told.
    pub(crate) fn form(self) -> Variant {
        match self {
            Self::RawWithState | Self::RawWithCurrent | Self::RawWithTask => Variant::RawTracepoint,
            Self::Classic => Variant::Tracepoint,
        }
    }

    /// Whether the kernel is made so that this form reads the truth; else why not. A raw tracepoint's arguments
    /// are checked for their number alone when it is attached, if at all: others in their place would be garbage.
    pub(crate) fn fits(self, layout: &Layout) -> Result<(), &'static str> {
        let knows_exit = layout.task_flags.is_some() && layout.task_sighand.is_some();
        let knows_state = layout.task_state.is_some() && layout.switch_passes_task;
        match self {
            Self::RawWithState if layout.switch_passes_state && knows_exit => Ok(()),
            Self::RawWithState => Err("the kernel's BTF shows no sched_switch that passes the state"),
            Self::RawWithCurrent if knows_state && knows_exit => Ok(()),
            Self::RawWithTask if knows_state => Ok(()),
            Self::RawWithCurrent | Self::RawWithTask => {
                Err("the kernel's BTF shows no sched_switch with a task and no state in it")
            }
            Self::Classic if layout.prev_state.is_some() => Ok(()),
            Self::Classic => Err("tracefs shows no sched_switch, is not mounted, or may not be read"),
        }
    }
}

/// The ways to count block I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockForm {
    /// Raw tracepoints that pass the bio first; it is read by offsets from the kernel's BTF. Linux 5.11 and later.
    Raw,
    /// The same, where the bio follows the request queue.
    RawWithQueue,
    /// Classic tracepoints: need tracefs, but no BTF.
    Classic,
}

impl BlockForm {
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

    /// What the user is told.
    pub(crate) fn form(self) -> Variant {
        match self {
            Self::Raw | Self::RawWithQueue => Variant::RawTracepoint,
            Self::Classic => Variant::Tracepoint,
        }
    }

    /// Whether the kernel is made so that this form reads the truth; else why not.
    pub(crate) fn fits(self, layout: &Layout) -> Result<(), &'static str> {
        match self {
            Self::Raw if layout.bio.is_some_and(|bio| bio.first) => Ok(()),
            Self::RawWithQueue if layout.bio.is_some_and(|bio| !bio.first) => Ok(()),
            Self::Raw | Self::RawWithQueue => {
                Err("the kernel's BTF shows no block_getrq and merges with a bio in that place")
            }
            Self::Classic if layout.block_record.is_some() => Ok(()),
            Self::Classic => Err("tracefs shows no block_getrq, is not mounted, or may not be read"),
        }
    }
}

/// The programs that follow processes as they start and execute other programs, and their tracepoints. That they end is
/// seen where switches are counted.
///
/// A new name is not worth the record of a classic tracepoint, which does not tell whose it is: a process that executes
/// a program is seen then too, and any other at the next collection at all processes.
pub(crate) fn lifecycle(is_exec_classic: bool) -> [(&'static str, &'static [&'static str]); 3] {
    let exec = if is_exec_classic { "process_exec_classic" } else { "process_exec" };
    [
        (exec, &["sched_process_exec"]),
        ("process_fork", &["sched_wakeup_new"]),
        ("process_rename", &["task_rename"]),
    ]
}

/// Where things are in this kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Whether a program at a raw tracepoint can be preempted. While one is, the kernel skips that program for all other
    /// threads on that CPU. At classic tracepoints preemption is off.
    pub(crate) preempts_raw: bool,
    /// Whether that is so, and classic tracepoints can be had.
    pub(crate) prefers_classic: bool,
    /// `sched_switch(preempt, prev, next, prev_state)`
    pub(crate) switch_passes_state: bool,
    /// `sched_switch(preempt, prev, next...)`
    pub(crate) switch_passes_task: bool,
    /// Offset of a task's state.
    pub(crate) task_state: Option<u32>,
    /// Offset of a task's flags.
    pub(crate) task_flags: Option<u32>,
    /// Offset of a task's signal handlers.
    pub(crate) task_sighand: Option<u32>,
    /// Offset of `prev_state` in the classic record.
    pub(crate) prev_state: Option<u32>,
    pub(crate) bio: Option<Bio>,
    pub(crate) block_record: Option<BlockRecord>,
    /// What is where in a process; `None` where processes can't be followed.
    pub(crate) process: Option<ProcessLayout>,
}

/// What is where in what the kernel keeps of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessLayout {
    /// By the names of the programs' constants.
    pub(crate) offsets: Vec<(&'static str, u32)>,
    /// Whether the kernel accounts storage I/O.
    pub(crate) has_storage: bool,
}

type Member = (&'static str, &'static str, &'static [&'static str]);

/// Members without which processes can't be followed: the programs' constant, the structure, the way in it.
const NEEDED: &[Member] = &[
    ("TASK_PID", "task_struct", &["pid"]),
    ("TASK_TGID", "task_struct", &["tgid"]),
    ("TASK_FLAGS", "task_struct", &["flags"]),
    ("TASK_COMM", "task_struct", &["comm"]),
    ("TASK_SIGNAL", "task_struct", &["signal"]),
    ("TASK_GROUP_LEADER", "task_struct", &["group_leader"]),
    ("TASK_START", "task_struct", &["start_boottime"]),
    ("TASK_EXIT_CODE", "task_struct", &["exit_code"]),
    ("TASK_EXIT_STATE", "task_struct", &["exit_state"]),
    ("TASK_PTRACE", "task_struct", &["ptrace"]),
    ("TASK_RUNTIME", "task_struct", &["se", "sum_exec_runtime"]),
    ("TASK_USER", "task_struct", &["utime"]),
    ("TASK_SYSTEM", "task_struct", &["stime"]),
    ("TASK_MINOR_FAULTS", "task_struct", &["min_flt"]),
    ("TASK_MAJOR_FAULTS", "task_struct", &["maj_flt"]),
    ("TASK_VOLUNTARY", "task_struct", &["nvcsw"]),
    ("TASK_INVOLUNTARY", "task_struct", &["nivcsw"]),
    ("SIGNAL_LIVE", "signal_struct", &["live"]),
    ("SIGNAL_THREADS", "signal_struct", &["nr_threads"]),
    // Of its members the number of its changes comes first.
    ("SIGNAL_STATS_LOCK", "signal_struct", &["stats_lock"]),
    ("SIGNAL_FLAGS", "signal_struct", &["flags"]),
    ("SIGNAL_EXIT_CODE", "signal_struct", &["group_exit_code"]),
    ("SIGNAL_PEAK_PAGES", "signal_struct", &["maxrss"]),
    ("SIGNAL_OOM_MEMORY", "signal_struct", &["oom_mm"]),
    ("SIGNAL_RUNTIME", "signal_struct", &["sum_sched_runtime"]),
    ("SIGNAL_USER", "signal_struct", &["utime"]),
    ("SIGNAL_SYSTEM", "signal_struct", &["stime"]),
    ("SIGNAL_MINOR_FAULTS", "signal_struct", &["min_flt"]),
    ("SIGNAL_MAJOR_FAULTS", "signal_struct", &["maj_flt"]),
    ("SIGNAL_VOLUNTARY", "signal_struct", &["nvcsw"]),
    ("SIGNAL_INVOLUNTARY", "signal_struct", &["nivcsw"]),
];

/// Members that kernels without accounting of storage I/O have not.
const STORAGE: &[Member] = &[
    ("TASK_READ_BYTES", "task_struct", &["ioac", "read_bytes"]),
    ("TASK_WRITE_BYTES", "task_struct", &["ioac", "write_bytes"]),
    ("SIGNAL_READ_BYTES", "signal_struct", &["ioac", "read_bytes"]),
    ("SIGNAL_WRITE_BYTES", "signal_struct", &["ioac", "write_bytes"]),
];

impl ProcessLayout {
    fn of_btf(btf: &Btf) -> Option<Self> {
        let is_task = |parameter: &Parameter| *parameter == Parameter::Pointer(Some("task_struct".into()));
        let fork = btf.tracepoint("sched_wakeup_new")?;
        let rename = btf.tracepoint("task_rename")?;
        btf.tracepoint("sched_process_exec")?;
        let passes = matches!(fork.as_slice(), [child, ..] if is_task(child))
            && matches!(rename.as_slice(), [task, Parameter::Pointer(_), ..] if is_task(task));
        let find = |members: &[Member]| {
            let offset =
                |&(name, structure, path): &Member| Some((name, btf.member_offset(structure, path)?));
            members.iter().map(offset).collect::<Option<Vec<_>>>()
        };
        let mut offsets = find(NEEDED).filter(|_| passes)?;
        let storage = find(STORAGE);
        let has_storage = storage.is_some();
        offsets.extend(storage.unwrap_or_default());
        Some(Self { offsets, has_storage })
    }
}

/// Where a bio is and what is where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bio {
    /// The tracepoints pass it first: Linux 5.11 and later.
    pub(crate) first: bool,
    pub(crate) size: u32,
    pub(crate) opf: u32,
}

/// What is where in the classic tracepoints' records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockRecord {
    pub(crate) nr_sector: u32,
    pub(crate) rwbs: u32,
}

impl Layout {
    /// The forms in the order in which they are to be tried: as they are, or the classic one first where programs at raw
    /// tracepoints can be skipped.
    pub(crate) fn order(&self, forms: &[BlockForm]) -> Vec<BlockForm> {
        let mut forms = forms.to_vec();
        // A stable sort: the others stay as they are.
        forms.sort_by_key(|form| self.preempts_raw && *form != BlockForm::Classic);
        forms
    }

    /// Reads what the running kernel tells; what it does not tell stays `None`.
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
            .all(|name| tracefs::Format::read("sched", name).is_some());
        layout.prefers_classic = layout.preempts_raw && can_be_classic;
        layout.prev_state =
            tracefs::Format::read("sched", "sched_switch").and_then(|format| format.offset("prev_state"));
        let records = ["block_getrq", "block_bio_backmerge", "block_bio_frontmerge"].map(|name| {
            let format = tracefs::Format::read("block", name)?;
            Some(BlockRecord { nr_sector: format.offset("nr_sector")?, rwbs: format.offset("rwbs")? })
        });
        // One program reads them all.
        layout.block_record = records[0].filter(|&first| records.iter().all(|&record| record == Some(first)));
        layout
    }

    fn of_btf(btf: &Btf) -> Self {
        let switch = btf.tracepoint("sched_switch").unwrap_or_default();
        let is_task = |parameter: Option<&Parameter>| {
            parameter.is_some_and(|it| *it == Parameter::Pointer(Some("task_struct".into())))
        };
        let is_scalar = |parameter: Option<&Parameter>| parameter == Some(&Parameter::Scalar);
        let passes_task = is_scalar(switch.first()) && is_task(switch.get(1)) && is_task(switch.get(2));
        Self {
            preempts_raw: btf.has_typedef(PREEMPTIBLE_GUARD),
            switch_passes_state: passes_task && is_scalar(switch.get(3)),
            switch_passes_task: passes_task,
            task_state: btf
                .member_offset("task_struct", &["__state"])
                .or_else(|| btf.member_offset("task_struct", &["state"])),
            task_flags: btf.member_offset("task_struct", &["flags"]),
            task_sighand: btf.member_offset("task_struct", &["sighand"]),
            bio: Bio::of_btf(btf),
            process: ProcessLayout::of_btf(btf),
            ..Self::default()
        }
    }
}

impl Bio {
    fn of_btf(btf: &Btf) -> Option<Self> {
        let place_of_bio = |name| {
            let parameters = btf.tracepoint(name)?;
            parameters.iter().position(|it| *it == Parameter::Pointer(Some("bio".into())))
        };
        let places = ["block_getrq", "block_bio_backmerge", "block_bio_frontmerge"].map(place_of_bio);
        let first = match places {
            [Some(0), Some(0), Some(0)] => true,
            [Some(1), Some(2), Some(2)] => false,
            _ => return None,
        };
        Some(Self {
            first,
            size: btf.member_offset("bio", &["bi_iter", "bi_size"])?,
            opf: btf.member_offset("bio", &["bi_opf"])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(layout: &Layout) -> Option<SwitchForm> {
        SwitchForm::CHEAPEST_FIRST.into_iter().find(|form| form.fits(layout).is_ok())
    }

    #[test]
    fn a_kernel_that_passes_the_state_gets_the_cheapest_form() {
        let layout = Layout {
            switch_passes_state: true,
            switch_passes_task: true,
            task_state: Some(24),
            task_flags: Some(44),
            task_sighand: Some(2500),
            prev_state: Some(32),
            ..Layout::default()
        };
        assert_eq!(chosen(&layout), Some(SwitchForm::RawWithState));
    }

    #[test]
    fn a_kernel_that_passes_no_state_gets_it_read_from_the_task() {
        let layout = Layout {
            switch_passes_task: true,
            task_state: Some(16),
            task_flags: Some(44),
            task_sighand: Some(2500),
            prev_state: Some(32),
            ..Layout::default()
        };
        assert_eq!(chosen(&layout), Some(SwitchForm::RawWithCurrent));
        // Where the verifier refuses that, the next one fits too.
        assert!(SwitchForm::RawWithTask.fits(&layout).is_ok());
    }

    #[test]
    fn the_classic_form_of_block_io_comes_first_where_raw_ones_can_be_skipped() {
        let forms = BlockForm::CHEAPEST_FIRST;
        assert_eq!(Layout::default().order(&forms), forms);
        let preempts = Layout { preempts_raw: true, ..Layout::default() };
        assert_eq!(preempts.order(&forms), [BlockForm::Classic, BlockForm::Raw, BlockForm::RawWithQueue]);
        assert_eq!(preempts.order(&[BlockForm::Raw]), [BlockForm::Raw]);
    }

    #[test]
    fn a_kernel_without_btf_gets_the_classic_form_and_one_without_tracefs_none() {
        assert_eq!(chosen(&Layout { prev_state: Some(32), ..Layout::default() }), Some(SwitchForm::Classic));
        assert_eq!(chosen(&Layout::default()), None);
        assert!(BlockForm::Raw.fits(&Layout::default()).is_err());
        let bio = Bio { first: false, size: 40, opf: 16 };
        let old = Layout { bio: Some(bio), ..Layout::default() };
        assert!(BlockForm::Raw.fits(&old).is_err() && BlockForm::RawWithQueue.fits(&old).is_ok());
        let new = Layout { bio: Some(Bio { first: true, ..bio }), ..Layout::default() };
        assert!(BlockForm::Raw.fits(&new).is_ok() && BlockForm::RawWithQueue.fits(&new).is_err());
        assert!(BlockForm::Classic.fits(&Layout::default()).is_err());
    }
}
