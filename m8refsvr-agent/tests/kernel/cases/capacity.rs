//! More processes than slots.

use std::time::{Duration, Instant};

use m8refsvr_agent::{
    bpf::{Kernel, NoSlot, Options, Switches},
    proc::{Proc, stat::Stat},
};
use m8refsvr_common::slot::Tgid;

use crate::{
    Case,
    Need::{Bpf, Disk},
    collecting::{collector_with, document, metrics, of},
    counted::Counted as _,
    load::Load,
};

pub(crate) const CASES: &[Case] = &[RELEASED, ONE_TOO_MANY, EXCHANGED, ID_COMES_AGAIN];

const RELEASED: Case = Case::new(
    "a slot that was taken from a living process belongs to no process and is freed once",
    &[Bpf],
    released,
);

fn released() {
    let mut kernel = Kernel::attach(&Options { capacity: 2, bpf_fs: None, ..Options::default() }).unwrap();
    let loads = [
        Load::start("M8RefSvr_released"),
        Load::start("M8RefSvr_released"),
        Load::start("M8RefSvr_released"),
    ];
    let watch = |kernel: &mut Kernel, load: &Load| {
        let process = Proc::new("/proc").process(load.pid()).unwrap();
        let start = Stat::read(&process, &mut Vec::new()).unwrap().start_ticks;
        kernel.track(Tgid(load.pid()), start, || Some((Switches::default(), 1)))
    };
    let first = watch(&mut kernel, &loads[0]).unwrap();
    let slot = first.slot();
    assert_eq!(
        (kernel.tracked_slots(), kernel.tracked_process(slot).unwrap().tgid),
        (vec![slot], Tgid(loads[0].pid()))
    );
    // A program may still count in it, and nobody is to find it.
    kernel.release(first);
    assert!(kernel.tracked_process(slot).is_none() && kernel.tracked_slots().is_empty());
    let again = kernel.take_over(slot);
    kernel.release(again);
    kernel.events();
    let slots = [&loads[0], &loads[1]].map(|load| watch(&mut kernel, load).unwrap().slot());
    assert_ne!(slots[0], slots[1]);
    assert_eq!(watch(&mut kernel, &loads[2]), Err(NoSlot::NoFreeSlot));
}

const EXCHANGED: Case = Case::new(
    "processes that come find the slots of those that ended since the last collection",
    &[Bpf],
    exchanged,
);

fn exchanged() {
    let options = Options { capacity: 2, bpf_fs: None, ..Options::default() };
    let mut collector = collector_with("M8RefSvr_exchange", &options);
    let earlier = [Load::start("M8RefSvr_exchange"), Load::start("M8RefSvr_exchange")];
    collector.collect().unwrap();
    drop(earlier);
    let later = [Load::start("M8RefSvr_exchange"), Load::start("M8RefSvr_exchange")];
    let sample = collector.collect().unwrap();
    assert!(later.iter().all(|load| of(&sample, load.pid()).switches().is_some()));
    assert_eq!(collector.snapshot().unwrap().drops.no_free_slot, 0);
}

const ID_COMES_AGAIN: Case = Case::new(
    "a process with the id of one that ended is counted from its own start",
    &[Bpf],
    id_comes_again,
);

fn id_comes_again() {
    let mut collector =
        collector_with("M8RefSvr_again", &Options { capacity: 4, bpf_fs: None, ..Options::default() });
    let first = Load::start("M8RefSvr_again");
    let pid = first.pid();
    collector.collect().unwrap();
    drop(first);
    let mut second = (0..1000)
        .find_map(|_| {
            // The next process gets the id after this one, unless another is faster.
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
            Some(Load::start("M8RefSvr_again")).filter(|load| load.pid() == pid)
        })
        .unwrap();
    let before = of(&collector.collect().unwrap(), pid).clone();
    // It can start in the clock tick of the first. Then only the events distinguish the two.
    let process = Proc::new("/proc").process(pid).unwrap();
    assert_eq!(before.identity.start_ticks, Stat::read(&process, &mut Vec::new()).unwrap().start_ticks);
    second.run("switch 1 100");
    let sum = |switches: Switches| switches.voluntary + switches.involuntary;
    let least = sum(second.switches());
    let after = of(&collector.collect().unwrap(), pid).clone();
    let most = sum(second.switches());
    let seen = after.switches().map(sum).unwrap();
    assert!((least..=most).contains(&seen), "{seen} of {least} to {most}: {before:?}, then {after:?}");
    assert!(seen > before.switches().map(sum).unwrap());
    let slots: Vec<u32> = collector.snapshot().unwrap().tracked.iter().map(|slot| slot.tgid.0).collect();
    assert_eq!(slots, [pid]);
}

const ONE_TOO_MANY: Case = Case::new(
    "one process too many is counted as dropped and reported and gets the next free slot",
    &[Bpf, Disk],
    one_too_many,
);

fn one_too_many() {
    let options = Options { capacity: 2, bpf_fs: None, ..Options::default() };
    let mut collector = collector_with("M8RefSvr_slots", &options);
    let mut loads: Vec<Load> = (0..3).map(|_| Load::start("M8RefSvr_slots")).collect();
    loads.sort_by_key(Load::pid);
    let first = collector.collect().unwrap();
    // A loss is counted once, not at each collection.
    let second = collector.collect().unwrap();
    assert_eq!(collector.snapshot().unwrap().drops.no_free_slot, 1);
    let shown = document(&collector, &first, &second);
    assert_eq!(shown["metrics"]["process_count"], 3);
    let lost = metrics(&shown, loads[2].pid());
    assert_eq!(lost.get("voluntary_ctx_switches"), None);
    assert_eq!(lost.get("block_write_bytes"), None);
    assert!(lost["memory_rss"].as_u64().unwrap() > 0);
    assert!(metrics(&shown, loads[0].pid())["voluntary_ctx_switches"].as_u64().unwrap() > 0);
    let warnings = shown["agent"]["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = warnings[0].as_str().unwrap();
    assert!(
        warning.contains("of 1 process: more processes match") && warning.contains("--max-tracked-processes"),
        "{warning}"
    );

    // The slot of one that ends goes to the one that waits, which does not inherit its counts.
    loads[0].run("write-direct 1 4");
    assert_eq!(of(&collector.collect().unwrap(), loads[0].pid()).block().unwrap().write_bytes, 4 << 20);
    drop(loads.remove(0));
    // Its last switch, by which the programs see its end, may be later than when its parent learns of it.
    let end = Instant::now() + Duration::from_secs(10);
    let waited = loop {
        let waited = of(&collector.collect().unwrap(), loads[1].pid()).clone();
        if waited.block().is_some() || Instant::now() > end {
            break waited;
        }
    };
    assert_eq!(waited.block().unwrap().write_bytes, 0);
    assert!(waited.switches().unwrap().voluntary > 0);
    assert_eq!(collector.snapshot().unwrap().tracked.len(), 2);
    assert_eq!(collector.snapshot().unwrap().drops.no_free_slot, 1);
}
