//! Collections of the load, as the agent makes them.

use std::{
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use m8refsvr_agent::{
    bpf::{Kernel, Options},
    collector::Collector,
    export::document::{Context, Document},
    metrics::{accumulator::Accumulator, churn::Churn},
    model::{
        counters::Counter,
        exit::ProcessEnd,
        sample::{ProcessSample, Sample},
    },
    proc::{
        Proc,
        system::{Host, memory_bytes},
    },
    tracker::selector::Selector,
};
use m8refsvr_common::record::ProcessState;
use m8refsvr_test_support::load::{Usage, no_process_starts};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::load::own;

/// A collector of the processes with this name, with the programs attached as `options` say.
pub(crate) fn collector_with(name: &str, options: &Options) -> Collector {
    collector_of(selector(name), options)
}

fn collector_of(selector: Selector, options: &Options) -> Collector {
    let kernel = Kernel::attach(&Options { comms: selector.comms(), ..options.clone() }).unwrap();
    assert_eq!(kernel.problems(), [""; 0]);
    Collector::new(Proc::new("/proc"), selector, Some(kernel))
}

/// As [`collector_with`], as the agent attaches by itself, with maps for a few processes.
pub(crate) fn collector(name: &str) -> Collector {
    collector_with(name, &Options { capacity: 16, bpf_fs: None, ..Options::default() })
}

/// A collector without programs.
pub(crate) fn collector_of_proc(name: &str) -> Collector {
    Collector::new(Proc::new("/proc"), selector(name), None)
}

fn selector(name: &str) -> Selector {
    Selector::new(&[name.to_owned()], &[]).unwrap()
}

/// An agent for these patterns, which are names.
pub(crate) fn agent_of_patterns(names: &[&str]) -> Agent {
    let options = Options { capacity: 8, bpf_fs: None, ..Options::default() };
    Agent::new(collector_of(selector_of(names), &options))
}

/// A collector for these patterns, without programs.
pub(crate) fn collector_of_patterns(names: &[&str]) -> Collector {
    Collector::new(Proc::new("/proc"), selector_of(names), None)
}

fn selector_of(names: &[&str]) -> Selector {
    let names: Vec<String> = names.iter().map(|name| own(name)).collect();
    Selector::new(&names, &[]).unwrap()
}

/// An agent's loop: it collects now and then, takes in the events of the BPF programs in between, and adds up.
pub(crate) struct Agent {
    pub(crate) collector: Collector,
    pub(crate) accumulator: Accumulator,
    events: Option<OwnedFd>,
    /// All that exited or no longer matches.
    pub(crate) ends: Vec<ProcessEnd>,
}

impl Agent {
    pub(crate) fn new(collector: Collector) -> Self {
        let events = collector.descriptor().unwrap();
        let accumulator = Accumulator::new(SystemTime::now(), collector.selector().patterns().count());
        let mut agent = Self { collector, accumulator, events, ends: Vec::new() };
        agent.collect();
        agent
    }

    pub(crate) fn collect(&mut self) -> Sample {
        let sample = {
            let _guard = no_process_starts();
            self.collector.collect().unwrap()
        };
        self.accumulator.record(&sample, true);
        self.ends.extend(sample.ends.iter().cloned());
        sample
    }

    /// Takes in events and collects at each interval, until `is_done`, and once more.
    pub(crate) fn until(&mut self, interval: Duration, is_done: impl Fn() -> bool) {
        let mut next = Instant::now() + interval;
        while !is_done() {
            self.follow_for(Duration::from_millis(50));
            if Instant::now() >= next {
                next += interval;
                self.collect();
            }
        }
        self.collect();
    }

    /// Takes in events, if there are any within this time. There are none without BPF programs.
    pub(crate) fn follow_for(&mut self, time: Duration) {
        let Some(events) = self.events.as_ref() else { return };
        let time = Timespec::try_from(time).unwrap();
        if poll(&mut [PollFd::new(events, PollFlags::IN)], Some(&time)).unwrap() > 0 {
            std::thread::sleep(Duration::from_millis(2));
            self.collector.follow().unwrap();
        }
    }

    /// Waits until all tracked processes have left their CPUs for the last time, and collects until so many have
    /// exited. The BPF programs learn of an exit by that last switch, which may be long after a parent's wait has
    /// returned.
    pub(crate) fn until_ended(&mut self, processes: u64) {
        let end = Instant::now() + Duration::from_secs(10);
        let lives = |collector: &Collector| {
            let kernel = collector.kernel().unwrap();
            let mut processes =
                kernel.tracked_slots().into_iter().filter_map(|slot| kernel.tracked_process(slot));
            processes.any(|process| process.state == ProcessState::Living)
        };
        while lives(&self.collector) && Instant::now() < end {
            std::thread::yield_now();
        }
        self.collect();
        while self.exits() < processes && Instant::now() < end {
            self.follow_for(Duration::from_millis(50));
            self.collect();
        }
    }

    pub(crate) fn total(&self, counter: Counter) -> u64 {
        self.accumulator.group(0).now.get(counter).unwrap()
    }

    pub(crate) fn churn(&self) -> &Churn {
        self.accumulator.churn(0).unwrap()
    }

    pub(crate) fn exits(&self) -> u64 {
        self.churn().exits.values().sum()
    }
}

/// What a collection saw of one process.
pub(crate) fn of(sample: &Sample, pid: u32) -> &ProcessSample {
    let found = sample.processes.iter().find(|process| process.identity.pid == pid);
    found.unwrap_or_else(|| panic!("process {pid} is not in the sample"))
}

/// The document of two collections.
pub(crate) fn document(collector: &Collector, first: &Sample, second: &Sample) -> Value {
    let context = Context {
        host: &Host::this(),
        memory_bytes: memory_bytes(collector.proc()),
        sources: collector.sources(),
        patterns: collector.selector().patterns().map(str::to_owned).collect(),
        problems: &[],
    };
    serde_json::to_value(Document::new(first, second, context)).unwrap()
}

/// The metrics of one process in a document.
pub(crate) fn metrics(document: &Value, pid: u32) -> &Value {
    let processes = document["processes"].as_array().unwrap();
    &processes.iter().find(|process| process["pid"] == pid).expect("the process is in the document")["metrics"]
}

pub(crate) fn agent_for(name: &str, capacity: u32) -> Agent {
    let options = Options { capacity, bpf_fs: None, ..Options::default() };
    Agent::new(collector_with(&own(name), &options))
}

/// Runs a load in a thread, and collects at each interval until it is done.
pub(crate) fn during(agent: &mut Agent, interval: Duration, load: impl FnOnce() -> Usage + Send) -> Usage {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let usage = load();
            is_done.store(true, Ordering::Relaxed);
            usage
        });
        agent.until(interval, || is_done.load(Ordering::Relaxed));
        load.join().unwrap()
    })
}

/// The totals are what `wait4` reported, of processes that have all ended.
pub(crate) fn equals(agent: &mut Agent, usage: &Usage) {
    agent.until_ended(usage.processes);
    assert_eq!((agent.churn().starts, agent.exits()), (usage.processes, usage.processes));
    let switches = agent.total(Counter::Voluntary) + agent.total(Counter::Involuntary);
    // The switch on exit is after the kernel's own count where the parent is fast.
    let most = usage.switches + usage.processes;
    assert!((usage.switches..=most).contains(&switches), "{switches} switches, {usage:?}");
    assert_eq!(agent.total(Counter::StorageWrite), usage.written_bytes);
    let cpu = agent.total(Counter::CpuUser) + agent.total(Counter::CpuSystem);
    let difference = cpu.abs_diff(u64::try_from(usage.cpu.as_nanos()).unwrap());
    assert!(u128::from(difference) * 100 <= usage.cpu.as_nanos(), "{cpu} ns, {usage:?}");
}

pub(crate) fn drops(agent: &Agent) -> m8refsvr_common::record::DropsRecord {
    agent.collector.kernel().unwrap().drops()
}

/// Looks until as many match as expected and no more come, or for five seconds.
pub(crate) fn settled(
    agent: &mut Agent,
    expected: usize,
) -> (Vec<u32>, m8refsvr_agent::model::sample::Sample) {
    let end = Instant::now() + Duration::from_secs(5);
    let mut last = None;
    // There may be events of whatever else happens on the machine, so that this loop may turn often.
    while Instant::now() < end {
        agent.follow_for(Duration::from_millis(50));
        let sample = agent.collect();
        let pids: Vec<u32> = sample.processes.iter().map(|process| process.identity.pid).collect();
        let is_settled = pids.len() == expected && last.as_ref() == Some(&pids);
        if is_settled {
            return (pids, sample);
        }
        last = Some(pids);
    }
    let sample = agent.collect();
    (last.unwrap_or_default(), sample)
}
