//! What /proc knows, and processes that come and go.

use std::{thread, time::Duration};

use rustix::process::{Signal, WaitIdOptions};

use crate::{
    Case,
    Need::Bpf,
    actor::Actor,
    looking::{document, metrics, observer, observer_of_proc, of},
};

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a process that spins reads 100 percent of a CPU and a stopped one 0",
        needs: &[],
        run: cpu,
    },
    Case { name: "pipes and sockets are open files too", needs: &[], run: files },
    Case { name: "ten thousand open files are counted", needs: &[], run: many_files },
    Case {
        name: "a process that ended between the looks is in neither list nor sums",
        needs: &[Bpf],
        run: ended,
    },
    Case { name: "a zombie is no process", needs: &[], run: zombie },
];

fn cpu() {
    let mut actor = Actor::start("M8RefSvr_cpu");
    let pid = actor.pid();
    let mut observer = observer_of_proc("M8RefSvr_cpu");
    let mut usage = || {
        let first = observer.look().unwrap();
        thread::sleep(Duration::from_secs(1));
        let second = observer.look().unwrap();
        metrics(&document(&observer, &first, &second), pid)["cpu_usage"].as_f64().unwrap()
    };
    assert_eq!(usage(), 0.0, "of one that waits");
    actor.tell("spin-for-ever 1");
    let spinning = usage();
    assert!((95.0..=105.0).contains(&spinning), "{spinning}");
    actor.stop();
    assert_eq!(usage(), 0.0, "of one that is stopped");
}

fn files() {
    let mut actor = Actor::start("M8RefSvr_files");
    let pid = actor.pid();
    let mut observer = observer_of_proc("M8RefSvr_files");
    let mut count = || of(&observer.look().unwrap(), pid).open_files.unwrap();
    let before = count();
    // 25 pipes and 25 pairs of sockets, two descriptors each.
    actor.tell("open 25");
    assert_eq!(count(), before + 100);
    actor.tell("close");
    assert_eq!(count(), before);
}

fn many_files() {
    let mut actor = Actor::start("M8RefSvr_many");
    let mut observer = observer_of_proc("M8RefSvr_many");
    let before = of(&observer.look().unwrap(), actor.pid()).open_files.unwrap();
    actor.tell("open 2500");
    assert_eq!(of(&observer.look().unwrap(), actor.pid()).open_files.unwrap(), before + 10_000);
}

fn ended() {
    let (staying, ending) = (Actor::start("M8RefSvr_ends"), Actor::start("M8RefSvr_ends"));
    let mut observer = observer("M8RefSvr_ends");
    let first = observer.look().unwrap();
    assert_eq!(first.processes.len(), 2);
    assert_eq!(observer.snapshot().unwrap().slots.len(), 2);
    drop(ending);
    let second = observer.look().unwrap();
    let document = document(&observer, &first, &second);
    assert_eq!(document["metrics"]["process_count"], 1);
    assert_eq!(document["processes"][0]["pid"], staying.pid());
    assert_eq!(document["agent"]["warnings"].as_array().unwrap().len(), 0, "{document}");
    let slots: Vec<u32> = observer.snapshot().unwrap().slots.iter().map(|slot| slot.tgid).collect();
    assert_eq!(slots, [staying.pid()]);
}

fn zombie() {
    let actor = Actor::start("M8RefSvr_zombie");
    let mut observer = observer_of_proc("M8RefSvr_zombie");
    assert_eq!(observer.look().unwrap().processes.len(), 1);
    actor.signal(Signal::KILL);
    // Waits for its end without taking it in.
    actor.wait_for(WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    assert!(std::path::Path::new(&format!("/proc/{}", actor.pid())).exists());
    assert_eq!(observer.look().unwrap().processes.len(), 0);
}
