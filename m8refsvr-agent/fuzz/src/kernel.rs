//! What comes from the kernel and its programs.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use m8refsvr_agent::{
    bpf::{
        EndedSlot, Event, Snapshot, TrackedSlot,
        btf::{Btf, Parameter},
        pins::PinnedAgent,
        tracefs::Format,
    },
    export::map_dump::Dump,
    logging::exits::sentence,
    model::{
        counters::Totals,
        exit::{EndKind, Exit, ProcessEnd},
        identity::Identity,
    },
};
use m8refsvr_common::{
    accounting::Accounting,
    comm,
    record::{Counts, DropsRecord, ExitRecord, ProcessRecord, ProcessState, SettingsRecord},
    signal::PerSource,
    slot::{Slot, Tgid},
};

use super::has_number;

pub(crate) fn btf(data: &[u8]) {
    let Ok(btf) = Btf::parse(data.to_vec()) else { return };
    for tracepoint in ["made", "sched_switch", "task_rename", ""] {
        let parameters = btf.tracepoint(tracepoint).unwrap_or_default();
        assert!(parameters.len() <= data.len() / 8, "{} of {} bytes", parameters.len(), data.len());
        for parameter in parameters {
            let Parameter::Pointer(Some(name)) = parameter else { continue };
            assert!(name.len() <= 3 * data.len() && !name.contains('\0'), "{name:?}");
        }
    }
    for (structure, path) in [
        ("bio", &["inner"][..]),
        ("bio", &["iter", "size"]),
        ("task_struct", &["se", "sum_exec_runtime"]),
        ("task_struct", &["__state"]),
        ("", &[""]),
    ] {
        let whole = btf.member_offset(structure, path);
        // What lies within something does not lie before it.
        let outer = btf.member_offset(structure, &path[..1]);
        assert!(whole.is_none() || outer <= whole, "{outer:?} {whole:?}");
    }
}

/// The name of a field on the first line, and the format after it.
pub(crate) fn tracefs(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (field, text) = text.split_once('\n').unwrap_or(("nr_sector", &text));
    let format = Format::new(text.to_owned());
    for field in [field, "nr_sector", "rwbs", "prev_state"] {
        if let Some(offset) = format.offset(field) {
            assert!(text.contains(field) && has_number(text.as_bytes(), offset.into()), "{field} {offset}");
        }
    }
}

pub(crate) fn event(data: &[u8]) {
    let Some(happened) = Event::parse(data) else {
        // No slot has the number 0.
        let has_subject = data.get(4..).is_some_and(|subject| data[0] > 2 || subject != [0; 4]);
        let known = data.len() == 8 && (1..=4).contains(&data[0]) && data[1..4] == [0; 3] && has_subject;
        assert!(!known, "{data:?} is an event");
        return;
    };
    let (kind, subject) = match happened {
        Event::Tracked(slot) => (1_u32, slot.number()),
        Event::Ended(slot) => (2, slot.number()),
        Event::Undecided(tgid) => (3, tgid.0),
        Event::NoFreeSlot(tgid) => (4, tgid.0),
    };
    assert_eq!(data, [kind.to_ne_bytes(), subject.to_ne_bytes()].concat());
}

/// Records in maps, which another version or another program may have written.
pub(crate) fn maps(data: &[u8]) {
    let mut words = data.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let mut word = || words.next().unwrap_or_default();
    let counts = |word: &mut dyn FnMut() -> u64| Counts {
        voluntary: word(),
        involuntary: word(),
        read_bytes: word(),
        write_bytes: word(),
        read_operations: word(),
        write_operations: word(),
    };
    let process = ProcessRecord {
        tgid: word(),
        start_ticks: word(),
        state: word(),
        parent: word(),
        comm: [word(), word()],
        baseline: counts(&mut word),
    };
    let record = ExitRecord {
        end: word(),
        peak_pages: word(),
        status: word(),
        accounting_at_end: Accounting::all(()).map(|()| word()),
        ..ExitRecord::default()
    };
    let cpus = vec![counts(&mut word), counts(&mut word)];
    let settings = SettingsRecord {
        capacity: word(),
        variants: PerSource::all(()).map(|()| word()),
        ..SettingsRecord::default()
    };
    let drops = DropsRecord { no_free_slot: word(), ..DropsRecord::default() };
    assert!(ProcessState::from_number(process.state).is_none_or(|state| state as u64 == process.state));

    let (bytes, length) = comm::bytes(process.comm);
    assert!(length <= bytes.len() && !bytes[..length].contains(&0));

    let number = |number| Slot::new(number).expect("the numbers of the slots here are not 0");
    let slot = TrackedSlot { tgid: Tgid(1), slot: number(1), process, cpus };
    // Baselines wrap, so that what is taken away can be given back.
    assert_eq!(slot.totals().minus(&process.baseline), slot.sum());
    let ended = vec![EndedSlot { slot: number(2), process, exit: record }];
    let dump = Dump::new(&Snapshot { settings, tracked: vec![slot], ended, drops }, 1, true, |_| None);
    assert!(dump.to_string().lines().all(|line| !line.chars().any(char::is_control)));
    let json = serde_json::to_value(&dump).expect("every dump can be written as JSON");
    assert_eq!(json["pending"][0]["status"], record.status);

    let exit = Exit::of_status(record.status);
    assert_eq!(exit.code().is_some(), exit.reason() == "error");
    assert_eq!(exit.signal().is_some(), ["signal", "oom"].contains(&exit.reason()));
    let end = ProcessEnd {
        identity: Identity { pid: 1, start_ticks: process.start_ticks },
        name: String::from_utf8_lossy(&bytes[..length]).into(),
        executable: None,
        group: 0,
        how: EndKind::Exited(exit),
        has_parent: false,
        started: UNIX_EPOCH,
        at: UNIX_EPOCH,
        lasted: Duration::from_nanos(record.end),
        peak_bytes: Some(record.peak_pages),
        first: None,
        last: Totals::default(),
    };
    let words = sentence(&end, exit);
    assert!(words.contains(" after ") && words.contains(&*end.name));
}

/// Names of folders in a file system to which everybody may write.
pub(crate) fn pin(data: &[u8]) {
    let folder = Path::new("/sys/fs/bpf/m8refsvr-0").join(OsStr::from_bytes(data));
    let Some(agent) = PinnedAgent::from_folder(folder.clone()) else { return };
    assert_eq!(agent.folder, folder);
    assert!(has_number(data, agent.pid.into()) && has_number(data, agent.start_ticks), "{agent:?}");
}
