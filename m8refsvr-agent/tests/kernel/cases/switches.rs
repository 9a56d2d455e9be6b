//! Context switches against the kernel's own accounting.

use m8refsvr_agent::{
    bpf::{Options, SwitchVariant, Switches},
    collector::Collector,
};

use crate::{
    Case,
    Need::{Bpf, Linux, Taskstats as Accounting, Tracefs},
    collecting::{collector, collector_of_proc, collector_with, of},
    counted::Counted as _,
    load::Load,
    release,
    taskstats::Taskstats,
};

pub(crate) const CASES: &[Case] = &[
    EQUAL_THE_KERNELS_RAW_WITH_STATE,
    EQUAL_THE_KERNELS_RAW_WITH_TASK,
    EQUAL_THE_KERNELS_RAW_WITH_CURRENT,
    EQUAL_THE_KERNELS_CLASSIC,
    CONTINUE_WITHOUT_GAP,
    TWO_HUNDRED_THREADS,
    LIVING_THREADS,
];

const EQUAL_THE_KERNELS_RAW_WITH_STATE: Case = Case::new(
    "switches of threads that live and of threads that ended equal the kernel's",
    &[Bpf, Accounting, Linux([5, 18])],
    || equal_the_kernels(SwitchVariant::RawWithState),
);
const EQUAL_THE_KERNELS_RAW_WITH_TASK: Case = Case::new(
    "switches equal the kernel's where the state is read from the task by a helper",
    &[Bpf, Accounting],
    || equal_the_kernels(SwitchVariant::RawWithTask),
);
const EQUAL_THE_KERNELS_RAW_WITH_CURRENT: Case = Case::new(
    "switches equal the kernel's where the state is read from the running task",
    &[Bpf, Accounting, Linux([5, 11])],
    || equal_the_kernels(SwitchVariant::RawWithCurrent),
);
const EQUAL_THE_KERNELS_CLASSIC: Case =
    Case::new("switches equal the kernel's by the classic tracepoint", &[Bpf, Accounting, Tracefs], || {
        equal_the_kernels(SwitchVariant::Classic)
    });

/// How switches are compared with the kernel's own.
#[derive(Clone, Copy)]
enum Compared {
    /// Voluntary and involuntary ones each.
    ByKind,
    /// All together, and none too many that are voluntary.
    Together,
}

impl Compared {
    /// Before Linux 5.18 the classic tracepoint reads the state of a thread that another CPU may be waking just then
    /// (`TASK_WAKING`, set by `try_to_wake_up` in `kernel/sched/core.c`), and shows it as that of a running thread.
    fn of(variant: SwitchVariant) -> Self {
        let is_read_late = variant == SwitchVariant::Classic && release() < [5, 18];
        if is_read_late { Self::Together } else { Self::ByKind }
    }

    fn is_same(self, seen: Switches, truth: Switches) -> bool {
        match self {
            Self::ByKind => seen == truth,
            Self::Together => seen.all() == truth.all() && seen.voluntary <= truth.voluntary,
        }
    }
}

fn equal_the_kernels(variant: SwitchVariant) {
    let compared = Compared::of(variant);
    let options =
        Options { capacity: 16, bpf_fs: None, switch_variants: vec![variant], ..Options::default() };
    let mut collector = collector_with("M8RefSvr_switch", &options);
    let accounting = Taskstats::connect().unwrap();
    let mut load = Load::start("M8RefSvr_switch");
    let pid = load.pid();
    collect(&mut collector, pid);

    // Four threads that wait and spin while we collect them.
    load.run("start-switching 4");
    // On each other CPU one switch may be accounted for that the program is just about to count.
    let in_flight = std::thread::available_parallelism().unwrap().get() as u64 - 1;
    let (mut before, mut seen) = (Switches::default(), Switches::default());
    for _ in 0..50 {
        before = accounting.of(pid).unwrap();
        seen = collect(&mut collector, pid);
        let after = accounting.of(pid).unwrap();
        let is_between = |kind: fn(&Switches) -> u64| {
            (kind(&before).saturating_sub(in_flight)..=kind(&after)).contains(&kind(&seen))
        };
        let is_right = match compared {
            Compared::ByKind => {
                is_between(|switches| switches.voluntary) && is_between(|switches| switches.involuntary)
            }
            Compared::Together => {
                let all = before.all().saturating_sub(in_flight)..=after.all();
                all.contains(&seen.all()) && seen.voluntary <= after.voluntary
            }
        };
        assert!(is_right, "{before:?} {seen:?} {after:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(seen.voluntary > 50 && seen.involuntary > 50, "it did not work: {seen:?}");

    // These end, and others after them.
    load.run("stop-switching");
    load.run("switch 4 50");
    equals_usage_as(compared, &mut collector, &mut load);
    let accounted = accounting.of(pid).unwrap();
    let seen = collect(&mut collector, pid);
    if accounted.voluntary < before.voluntary {
        // Taskstats of Linux 5.10 to 6.12 forget threads that have ended; `getrusage` does not.
        return;
    }
    // What the eight threads did on their way out taskstats do not see.
    let Compared::ByKind = compared else {
        assert!((0..=16).contains(&seen.all().wrapping_sub(accounted.all())), "{seen:?} {accounted:?}");
        return;
    };
    assert!(accounted.voluntary <= seen.voluntary && accounted.involuntary <= seen.involuntary);
    assert!(seen.voluntary - accounted.voluntary <= 8, "{seen:?} {accounted:?}");
    assert!(seen.involuntary - accounted.involuntary <= 8, "{seen:?} {accounted:?}");
}

const CONTINUE_WITHOUT_GAP: Case = Case::new(
    "switches before the first collection continue without gap or overlap",
    &[Bpf],
    continue_without_gap,
);

fn continue_without_gap() {
    for round in 0..10 {
        let name = format!("M8RefSvr_gap{round}");
        let mut load = Load::start(&name);
        load.run("start-switching 4");
        // Busy from long before the first collection until after it.
        let mut collector = collector(&name);
        collect(&mut collector, load.pid());
        load.run("stop-switching");
        equals_usage(&mut collector, &mut load);
    }
}

const TWO_HUNDRED_THREADS: Case =
    Case::new("two hundred threads that start and end lose nothing", &[Bpf], two_hundred_threads);

fn two_hundred_threads() {
    let mut load = Load::start("M8RefSvr_threads");
    let mut collector = collector("M8RefSvr_threads");
    collect(&mut collector, load.pid());
    for _ in 0..20 {
        load.run("switch 10 2");
    }
    let seen = equals_usage(&mut collector, &mut load);
    assert!(seen.voluntary > 400, "{seen:?}");
}

const LIVING_THREADS: Case =
    Case::new("without BPF programs switches are those of the living threads", &[], living_threads);

fn living_threads() {
    let mut collector = collector_of_proc("M8RefSvr_living");
    let mut load = Load::start("M8RefSvr_living");
    equals_usage(&mut collector, &mut load);
    load.run("switch 2 50");
    let seen = collect(&mut collector, load.pid());
    let truth = load.switches();
    // Those of the two threads that ended are lost, which is why programs count.
    assert!(seen.voluntary + 50 < truth.voluntary, "{seen:?} {truth:?}");
}

/// Compares the agent's values with what the kernel shows the process itself, to the last switch: it asks, waits for
/// the next command, which is one switch, is collected, and asks again.
fn equals_usage(collector: &mut Collector, load: &mut Load) -> Switches {
    equals_usage_as(Compared::ByKind, collector, load)
}

fn equals_usage_as(compared: Compared, collector: &mut Collector, load: &mut Load) -> Switches {
    let mut before = load.switches();
    for attempt in 0..1000 {
        if attempt >= 100 {
            // On a busy machine we are woken on the CPU of the load, and collect before it waits.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let seen = collect(collector, load.pid());
        let after = load.switches();
        let waited_once = after.voluntary == before.voluntary + 1 && seen != before;
        if waited_once && after.involuntary == before.involuntary {
            assert!(compared.is_same(seen, after), "{seen:?} {after:?}");
            return seen;
        }
        // Where it is preempted each time, as we wake, that is before we collect, or else once more.
        if waited_once && attempt >= 500 && compared.is_same(seen, after) {
            return seen;
        }
        before = after;
    }
    panic!("process {} is never idle", load.pid());
}

fn collect(collector: &mut Collector, pid: u32) -> Switches {
    of(&collector.collect().unwrap(), pid).switches().unwrap()
}
