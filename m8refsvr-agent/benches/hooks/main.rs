//! What a context switch costs in each program that is attached to `sched_switch`: an empty one, which shows what
//! measuring itself costs, the straightforward design with hash maps, and ours, for a process that is tracked and
//! for one that is not.
//!
//! One process with two threads pinned to one CPU passes a byte to and fro through pipes. In every round each
//! program is attached alone and measured by the kernel's own accounting (`BPF_ENABLE_STATS`); the order changes
//! from round to round. Then the passes themselves are timed, with ours attached and with what others wrote, which may
//! attach several programs. Prints a line of JSON; run by `cargo xtask bench hooks`, as root.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a bench for developers")]

use std::{env, fs, thread, time::Duration};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, PerCpuHashMap, PerCpuValues},
    programs::{ProgramInfo, RawTracePoint, loaded_programs},
    sys::{Stats, enable_stats},
    util::nr_cpus,
};
use m8refsvr_agent::bpf::{Kernel, Options, SwitchVariant, Switches};
use m8refsvr_common::slot::Tgid;
use serde_json::{Map, Value, json};

mod neighbours;
mod ping_pong;

use neighbours::Neighbour;
use ping_pong::PingPong;

const ROUNDS: usize = 31;
/// Fewer, as those that others wrote take seconds to start.
const ROUNDS_OF_PASSES: usize = 11;
const ROUND: Duration = Duration::from_millis(200);

/// A program and whether the load's process is tracked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Candidate {
    Empty,
    Hash { tracked: bool },
    Ours { tracked: bool, variant: SwitchVariant },
}

impl Candidate {
    const ALL: [Self; 9] = [
        Self::Empty,
        Self::Ours { tracked: false, variant: SwitchVariant::RawWithState },
        Self::Ours { tracked: true, variant: SwitchVariant::RawWithState },
        Self::Ours { tracked: false, variant: SwitchVariant::RawWithCurrent },
        Self::Ours { tracked: true, variant: SwitchVariant::RawWithCurrent },
        Self::Ours { tracked: false, variant: SwitchVariant::RawWithTask },
        Self::Ours { tracked: true, variant: SwitchVariant::RawWithTask },
        Self::Hash { tracked: false },
        Self::Hash { tracked: true },
    ];

    fn label(self) -> String {
        let who = |tracked| if tracked { "a target" } else { "not a target" };
        match self {
            Self::Empty => "empty program".into(),
            Self::Hash { tracked } => format!("hash of targets and per-CPU hash, {}", who(tracked)),
            Self::Ours { tracked, variant: SwitchVariant::RawWithState } => {
                format!("m8refsvr, {}", who(tracked))
            }
            Self::Ours { tracked, variant: SwitchVariant::RawWithCurrent } => {
                format!("m8refsvr before Linux 5.18, {}", who(tracked))
            }
            Self::Ours { tracked, .. } => format!("m8refsvr before Linux 5.11, {}", who(tracked)),
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Hash { .. } => "hash",
            Self::Ours { variant: SwitchVariant::RawWithTask, .. } => "sched_switch_task",
            Self::Ours { variant: SwitchVariant::RawWithCurrent, .. } => "sched_switch_current",
            Self::Ours { .. } => "sched_switch",
        }
    }

    /// Attaches it; detached when the result is dropped.
    fn attach(self, reference: &[u8]) -> Attached {
        match self {
            Self::Empty => Attached::Reference { _programs: attach_reference(reference, "empty") },
            Self::Hash { tracked } => {
                let mut programs = attach_reference(reference, "hash");
                if tracked {
                    let tgid = std::process::id();
                    let zeros = PerCpuValues::try_from(vec![[0_u64; 2]; nr_cpus().unwrap()]).unwrap();
                    let mut switches: PerCpuHashMap<_, u32, [u64; 2]> =
                        programs.map_mut("SWITCHES").unwrap().try_into().unwrap();
                    switches.insert(tgid, zeros, 0).unwrap();
                    let mut targets: HashMap<_, u32, u32> =
                        programs.map_mut("TRACKED").unwrap().try_into().unwrap();
                    targets.insert(tgid, 1, 0).unwrap();
                }
                Attached::Reference { _programs: programs }
            }
            Self::Ours { tracked, variant } => {
                let options = Options {
                    bpf_fs: None,
                    switch_variants: vec![variant],
                    block_variants: Vec::new(),
                    ..Options::default()
                };
                let mut kernel = Kernel::attach(&options).unwrap();
                if tracked {
                    kernel.track(Tgid(std::process::id()), 0, || Some((Switches::default(), 1))).unwrap();
                }
                Attached::Ours { _kernel: Box::new(kernel) }
            }
        }
    }
}

enum Attached {
    Reference { _programs: Ebpf },
    Ours { _kernel: Box<Kernel> },
}

fn attach_reference(object: &[u8], name: &str) -> Ebpf {
    let mut programs = EbpfLoader::new().btf(None).load(object).unwrap();
    let program: &mut RawTracePoint = programs.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach("sched_switch").unwrap();
    programs
}

/// Runs and nanoseconds of a program until now.
fn cost(id: u32) -> (u64, Duration) {
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .expect("the program is loaded");
    (program.run_count(), program.run_time())
}

/// The id of the newest program; a name may be that of another agent's too.
fn newest(name: &str) -> u32 {
    let is_it = |program: &ProgramInfo| {
        program.name_as_str().is_some_and(|it| !it.is_empty() && name.starts_with(it))
    };
    let programs = loaded_programs().filter_map(Result::ok).filter(is_it);
    programs.map(|program| program.id()).max().expect("the program is loaded")
}

fn main() {
    let path = env::var("M8REFSVR_REFERENCE_OBJECT");
    let Ok(path) = path else {
        println!("not measured: run `cargo xtask bench hooks`, which builds what ours is compared with");
        return;
    };
    let reference = fs::read(path).unwrap();
    let load = PingPong::start();
    let events = events(&reference);
    let (passes, failed) = passes(&load);
    load.end();
    println!("{}", json!({ "events": events, "passes": passes, "failed": failed }));
}

/// Nanoseconds for each event of the programs, by the kernel's accounting.
fn events(reference: &[u8]) -> Map<String, Value> {
    let _stats = enable_stats(Stats::RunTime).expect("root, and Linux 5.8 or later");
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); Candidate::ALL.len()];
    for round in 0..ROUNDS {
        for place in 0..Candidate::ALL.len() {
            let index = (place + round) % Candidate::ALL.len();
            let candidate = Candidate::ALL[index];
            let attached = candidate.attach(reference);
            let id = newest(candidate.program());
            // The first events find cold caches.
            thread::sleep(ROUND / 10);
            let (count_before, time_before) = cost(id);
            thread::sleep(ROUND);
            let (count, time) = cost(id);
            drop(attached);
            costs[index].push(nanoseconds(time - time_before) / per(count - count_before));
        }
    }
    Candidate::ALL.iter().zip(costs).map(|(candidate, costs)| (candidate.label(), json!(costs))).collect()
}

/// Nanoseconds of CPU time for each pass of the load with nothing attached, beside ours and beside what others wrote;
/// and those of them that attached nothing.
fn passes(load: &PingPong) -> (Map<String, Value>, Vec<String>) {
    let ours = |tracked| Candidate::Ours { tracked, variant: SwitchVariant::RawWithState };
    let mut names = vec!["nothing attached".to_owned(), ours(false).label(), ours(true).label()];
    let neighbours = Neighbour::all();
    names.extend(neighbours.iter().map(|neighbour| neighbour.name.clone()));
    let mut costs: Vec<Option<Vec<f64>>> = vec![Some(Vec::new()); names.len()];
    for round in 0..ROUNDS_OF_PASSES {
        for place in 0..names.len() {
            let index = (place + round) % names.len();
            let Some(of_this) = &mut costs[index] else { continue };
            let measure = || {
                thread::sleep(ROUND / 10);
                load.pass(ROUND)
            };
            let pass = match index {
                0 => Some(measure()),
                1 | 2 => {
                    let _attached = ours(index == 2).attach(&[]);
                    Some(measure())
                }
                _ => neighbours[index - 3].start().map(|_running| measure()),
            };
            match pass {
                Some(pass) => of_this.push(pass),
                None => costs[index] = None,
            }
        }
    }
    let failed = names.iter().zip(&costs).filter(|(_, costs)| costs.is_none()).map(|(name, _)| name.clone());
    let failed = failed.collect();
    (names.into_iter().zip(costs).filter_map(|(name, costs)| Some((name, json!(costs?)))).collect(), failed)
}

#[expect(clippy::cast_precision_loss, reason = "a second has 10^9 nanoseconds")]
fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 events")]
fn per(count: u64) -> f64 {
    count as f64
}
