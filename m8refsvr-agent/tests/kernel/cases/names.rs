//! Processes with names that make parsers stumble.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use m8refsvr_agent::{
    bpf::{Kernel, Options},
    tracker::selector::Selector,
};
use m8refsvr_common::slot::Tgid;

use crate::{
    Case,
    Need::Bpf,
    collecting::{collector_of_proc, document, of},
    load::Load,
};

pub(crate) const CASES: &[Case] = &[STRANGE, LONG, ARGUMENT, AGENTS];

const STRANGE: Case =
    Case::new("names with spaces, parentheses, newlines and no text are shown", &[], strange);

fn strange() {
    let names: [(&[u8], &str); 5] = [
        (b"M8 odd) S 1 (x", "M8 odd) S 1 (x"),
        (b"M8 odd\nline", "M8 odd\nline"),
        (b"M8 odd \xff\xfe", "M8 odd \u{fffd}\u{fffd}"),
        (b"((M8 odd", "((M8 odd"),
        (b"M8 odd\x1b[31m", "M8 odd\u{1b}[31m"),
    ];
    for (name, shown) in names {
        let load = Load::start(OsStr::from_bytes(name));
        let mut collector = collector_of_proc("m8 ODD");
        let sample = collector.collect().unwrap();
        assert_eq!(&*of(&sample, load.pid()).name, shown);
        // One line for programs, whatever is in the name.
        let text = document(&collector, &sample, &sample).to_string();
        assert!(!text.contains(['\n', '\u{1b}']), "{text}");
    }
}

const LONG: Case = Case::new("a name longer than the kernel keeps matches and is shown whole", &[], long);

fn long() {
    let name = "M8RefSvr_Production_64";
    let load = Load::start(name);
    let sample = collector_of_proc(name).collect().unwrap();
    assert_eq!(&*of(&sample, load.pid()).name, name);
}

const ARGUMENT: Case = Case::new("a matching word in an argument is no match", &[], argument);

fn argument() {
    let mut other =
        std::process::Command::new("sleep").arg("60").env("M8RefSvr_arg", "M8RefSvr_arg").spawn().unwrap();
    let load = Load::start_with("other", &["M8RefSvr_arg.log"]);
    let sample = collector_of_proc("M8RefSvr_arg").collect().unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(sample.processes.is_empty(), "{:?} matches {}", sample.processes, load.pid());
}

const AGENTS: Case =
    Case::new("another agent is tracked neither by its name nor by the BPF programs", &[Bpf], agents);

fn agents() {
    let comms = Selector::new(&["M8RefSvr".to_owned()], &[]).unwrap().comms();
    let kernel =
        Kernel::attach(&Options { capacity: 16, bpf_fs: None, comms, ..Options::default() }).unwrap();
    let has_slot = |load: &Load| kernel.slot(Tgid(load.pid())).is_some();
    let agents = ["m8refsvr-agent", "m8refsvr-agent-2.0", "m8refsvr-agent.old"].map(Load::start);
    let another = Load::start("m8refsvr-2.0");
    assert!(has_slot(&another), "the programs do not see what matches");
    for agent in &agents {
        assert!(!has_slot(agent), "the programs count for another agent");
    }
    let sample = collector_of_proc("M8RefSvr").collect().unwrap();
    let found: Vec<u32> = sample.processes.iter().map(|process| process.identity.pid).collect();
    assert!(found.contains(&another.pid()));
    assert!(agents.iter().all(|agent| !found.contains(&agent.pid())));
}
