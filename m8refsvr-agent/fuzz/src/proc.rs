//! Files of /proc.

use std::{
    path::{Component, Path},
    sync::LazyLock,
};

use m8refsvr_agent::{
    logging::escape::in_line,
    proc::{
        bpf_fdinfo::ProgramInfo,
        cgroup::{Controller, Hierarchies, Membership},
        container,
        identity::{Invocation, Names},
        io::{self, IoAccounting},
        limits::{Limit, Limits},
        mount::option_in,
        process_attributes::{AttributeSet, COMMAND_LINE_LIMIT},
        stat::{self, Stat},
        statm::Memory,
        status::Status,
        system::{cpus_in, has_boot_offset, memory_in, numbered_cpus},
    },
    tracker::selector::Selector,
};

use super::{has_number, parts};

pub(crate) fn stat(data: &[u8]) {
    let Some(stat) = Stat::parse(data) else { return };
    let close =
        data.iter().rposition(|&byte| byte == b')').expect("a line that was parsed has a parenthesis");
    let after_name = &data[close..];
    for number in [
        stat.parent,
        stat.minor_faults,
        stat.major_faults,
        stat.user_ticks,
        stat.system_ticks,
        stat.threads,
        stat.start_ticks,
    ] {
        assert!(has_number(after_name, number), "{number} of {stat:?}");
    }
    assert!(!(stat.is_zombie() && stat.has_no_leader()));
    let comm = stat::comm(data).expect("a line that was parsed has a name");
    assert!(data.windows(comm.len() + 2).any(|part| &part[1..part.len() - 1] == comm));
    // As the kernel writes what was understood, it is understood alike.
    let Stat { parent, minor_faults, major_faults, user_ticks, system_ticks, .. } = &stat;
    let Stat { threads, start_ticks, .. } = &stat;
    let flags = if stat.is_kernel_thread { 0x0020_0000 } else { 0 };
    let mut line = [b"1 (", comm, b") "].concat();
    line.push(stat.state);
    line.extend(
        format!(
            " {parent} 0 0 0 -1 {flags} {minor_faults} 0 {major_faults} 0 {user_ticks} {system_ticks} 0 0 20 0 \
             {threads} 0 {start_ticks} 0\n"
        )
        .into_bytes(),
    );
    let again = Stat::parse(&line).expect("a line of parsed values is parsed again");
    assert_eq!(again, stat);
}

pub(crate) fn statm(data: &[u8]) {
    let Some(memory) = Memory::parse(data) else { return };
    let pages = [memory.virtual_bytes, memory.resident_bytes].map(|bytes| bytes / 4096);
    for (pages, bytes) in pages.into_iter().zip([memory.virtual_bytes, memory.resident_bytes]) {
        // A number of bytes that does not fit is the largest one.
        assert!(bytes == u64::MAX || has_number(data, pages), "{pages} pages");
    }
    let line = format!("{} {} 0\n", pages[0], pages[1]);
    let again = Memory::parse(line.as_bytes()).expect("a line of parsed values is parsed again");
    assert_eq!([again.virtual_bytes, again.resident_bytes], pages.map(|pages| pages * 4096));
}

pub(crate) fn io(data: &[u8]) {
    let Some(io) = io::parse(data) else { return };
    let mut text = String::new();
    IoAccounting::NAMES.zip(io, |name, value| (name, value)).for_each(|(name, value)| {
        assert!(has_number(data, value), "{io:?}");
        text.push_str(&format!("{name}: {value}\n"));
    });
    assert_eq!(io::parse(text.as_bytes()), Some(io));
}

pub(crate) fn status(data: &[u8]) {
    let Some(status) = Status::parse(data) else { return };
    if status.ignores_child_exits().is_some() {
        assert!(data.windows(8).any(|part| part == b"SigIgn:\t"));
    }
    if let Some(user) = status.real_user() {
        assert!(has_number(data, user.into()), "{user}");
    }
    if let Some((voluntary, involuntary)) = status.context_switches() {
        assert!(has_number(data, voluntary) && has_number(data, involuntary), "{voluntary} {involuntary}");
    }
}

pub(crate) fn limits(data: &[u8]) {
    let Some(limits) = Limits::parse(data) else { return };
    for limit in [limits.open_files, limits.processes] {
        match limit {
            Limit::Of(number) => assert!(has_number(data, number), "{number}"),
            Limit::Unlimited => assert!(data.windows(9).any(|part| part == b"unlimited")),
        }
        for used in [0, 1, u64::MAX] {
            assert!(limit.ratio(used).is_none_or(|ratio| ratio.is_finite() && ratio >= 0.0), "{limit:?}");
        }
    }
}

/// The mounts, and after a zero the process's own file.
pub(crate) fn cgroup(data: &[u8]) {
    const ROOT: &str = "/root of the machine";
    const USUAL: &[u8] = b"31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
                           35 31 0:32 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    let mut texts = parts(data);
    let (mounts, membership) = (texts.next().unwrap_or_default(), texts.next().unwrap_or(data));
    for (mounts, is_usual) in [(mounts, false), (USUAL, true)] {
        let hierarchies = Hierarchies::parse(mounts, Path::new(ROOT));
        option_in(mounts, Path::new("/proc"), "hidepid");
        let Some(places) = Membership::parse(membership) else { continue };
        for path in places.paths() {
            let bytes = path.as_encoded_bytes();
            assert!(
                bytes.is_empty() || membership.windows(bytes.len()).any(|part| part == bytes),
                "{path:?}"
            );
            let id = container::id(path);
            assert!(
                id.is_none_or(|id| id.len() == 64 && u128::from_str_radix(&id[32..], 16).is_ok()),
                "{id:?}"
            );
        }
        for controller in [Controller::Pids, Controller::Memory] {
            let folders: Vec<_> = hierarchies.folders(&places, controller).collect();
            // A path of 4096 bytes has no more folders.
            assert!(folders.len() <= membership.len().min(4096) / 2 + 2, "{}", folders.len());
            for (_, folder) in &folders {
                assert!(folder.starts_with(ROOT), "{folder:?}");
                assert!(folder.as_os_str().len() <= ROOT.len() + mounts.len() + membership.len() + 2);
                let is_plain = |part: Component<'_>| part != Component::ParentDir;
                assert!(!is_usual || folder.components().all(is_plain), "{folder:?} leads out");
            }
        }
    }
}

/// `comm`, where `exe` leads to, and the command line, with zeros between them.
pub(crate) fn names(data: &[u8]) {
    static SELECTOR: LazyLock<Selector> = LazyLock::new(|| {
        Selector::new(&["a".into(), "\u{fc}".into()], &["^b+$".into()])
            .expect("the patterns of this target are valid")
    });
    let mut texts = data.splitn(3, |&byte| byte == 0);
    let comm = texts.next().unwrap_or_default();
    let names = Names::new(comm, texts.next(), texts.next());
    for name in names.all() {
        assert!(name.is_empty() || data.windows(name.len()).any(|part| part == name));
    }
    let files = names.executable.iter().chain(&names.argv0);
    files.for_each(|name| assert!(!name.contains(&b'/'), "{names:?}"));
    assert_ne!(names.argv0.as_deref(), Some(&b""[..]));
    let shown = names.shown();
    // A byte that is no text becomes a character of three.
    assert!(shown.len() <= 3 * data.len());
    assert!(!in_line(&shown).chars().any(char::is_control), "{shown:?}");
    let mut texts = data.splitn(3, |&byte| byte == 0).skip(1);
    let called = Invocation::new(texts.next(), texts.next(), AttributeSet::WithCommandLine);
    assert_eq!(called.executable_path.is_some(), names.executable.is_some());
    let words = [&called.command, &called.command_line].into_iter().flatten();
    words.for_each(|it| assert!(!it.is_empty() && it.len() <= COMMAND_LINE_LIMIT && !it.contains('\0')));
    if let Some(command) = &called.command {
        assert!(called.command_line.is_some_and(|line| line.starts_with(&**command)), "{command:?}");
    }
    let selected = SELECTOR.select(&names);
    assert!(selected.is_none_or(|place| place < 3));
    if let Some(0) = selected {
        assert!(names.all().any(|name| name.contains(&b'a') || name.contains(&b'A')));
    }
}

pub(crate) fn fdinfo(data: &[u8]) {
    let info = ProgramInfo::parse(data);
    if let Some((time, count)) = info.runs {
        let nanoseconds = u64::try_from(time.as_nanos())
            .expect("a time that was read as 64 bits of nanoseconds fits into them");
        assert!(count > 0 && has_number(data, count) && has_number(data, nanoseconds), "{info:?}");
    }
    assert!(info.missed.is_none_or(|missed| has_number(data, missed)), "{info:?}");
}

pub(crate) fn system(data: &[u8]) {
    if let Some(bytes) = memory_in(data) {
        assert!(bytes > 0 && has_number(data, bytes / 1024), "{bytes}");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.trim();
    if let Some(cpus) = cpus_in(text) {
        assert!(cpus > 0);
        let highest = numbered_cpus(text);
        assert!(highest.is_none_or(|highest| has_number(data, u64::from(highest) - 1)), "{highest:?}");
    }
    assert!(!has_boot_offset(text) || text.contains("boottime"));
}
