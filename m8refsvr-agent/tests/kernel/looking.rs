//! Looking at actors as the agent does.

use m8refsvr_agent::{
    export::document::{Context, Document},
    kernel::{Kernel, Options},
    proc::{
        Proc,
        system::{Host, memory_bytes},
    },
    sample::{Observer, ProcessSample, Sample},
    selector::Selector,
};
use serde_json::Value;

/// An observer of the processes with this name, with the programs attached as `options` say.
pub(crate) fn observer_with(name: &str, options: &Options) -> Observer {
    let kernel = Kernel::attach(options).unwrap();
    assert_eq!(kernel.problems(), [""; 0]);
    Observer::new(Proc::new("/proc"), selector(name), Some(kernel))
}

/// As [`observer_with`], as the agent attaches by itself, with maps for a few processes.
pub(crate) fn observer(name: &str) -> Observer {
    observer_with(name, &Options { capacity: 16, bpf_fs: None, ..Options::default() })
}

/// An observer without programs.
pub(crate) fn observer_of_proc(name: &str) -> Observer {
    Observer::new(Proc::new("/proc"), selector(name), None)
}

fn selector(name: &str) -> Selector {
    Selector::new(&[name.to_owned()], &[]).unwrap()
}

/// What a look saw of one process.
pub(crate) fn of(sample: &Sample, pid: u32) -> &ProcessSample {
    let found = sample.processes.iter().find(|process| process.identity.pid == pid);
    found.unwrap_or_else(|| panic!("process {pid} is not in the sample"))
}

/// The document of two looks.
pub(crate) fn document(observer: &Observer, first: &Sample, second: &Sample) -> Value {
    let context = Context {
        host: &Host::this(),
        memory_bytes: memory_bytes(observer.proc()),
        sources: observer.sources(),
        patterns: observer.selector().patterns().map(str::to_owned).collect(),
        problems: &[],
    };
    serde_json::to_value(Document::new(first, second, context)).unwrap()
}

/// The metrics of one process in a document.
pub(crate) fn metrics(document: &Value, pid: u32) -> &Value {
    let processes = document["processes"].as_array().unwrap();
    &processes.iter().find(|process| process["pid"] == pid).expect("the process is in the document")["metrics"]
}
