//! Limits of cgroups, from folders that stand for a machine.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::proc::{Proc, Process, Unreadable};

const MIB: u64 = 1 << 20;
/// "No limit" of version 1 on x86-64.
const NONE: &str = "9223372036854771712\n";
const V2: &str =
    "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
const HYBRID: &str = "\
22 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
31 22 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/cpu,pids rw - cgroup  rw,cpu,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

/// A machine in a folder.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new(mountinfo: &str) -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap() };
        machine.write("proc/self/mountinfo", mountinfo);
        machine
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A cgroup of version 2, as a path below /sys/fs/cgroup.
    fn unified(&self, path: &str, [current, max, memory]: [&str; 3]) -> &Self {
        let folder = format!("sys/fs/cgroup/{path}");
        self.write(&format!("{folder}/pids.current"), &format!("{current}\n"));
        self.write(&format!("{folder}/pids.max"), &format!("{max}\n"));
        self.write(&format!("{folder}/memory.max"), &format!("{memory}\n"))
    }

    fn proc(&self) -> Proc {
        Proc::new(self.root.path().join("proc"))
    }

    fn cgroups(&self) -> Cgroups {
        Cgroups::new(Hierarchies::read(&self.proc(), self.root.path()).unwrap())
    }

    /// The limits of a process whose file is this.
    fn read(&self, cgroups: &mut Cgroups, membership: &str) -> Result<CgroupLimits, Unreadable> {
        self.write("proc/7/cgroup", membership);
        of(cgroups, &self.proc().process(7).unwrap())
    }

    fn limits(&self, membership: &str) -> Result<CgroupLimits, Unreadable> {
        self.read(&mut self.cgroups(), membership)
    }
}

/// The limits of a process.
fn of(cgroups: &mut Cgroups, process: &Process) -> Result<CgroupLimits, Unreadable> {
    let membership = cgroups.membership(process, &mut Vec::new())?;
    Ok(cgroups.limits(&membership))
}

fn limits(pids: Option<(u64, u64)>, memory_bytes: Option<u64>) -> CgroupLimits {
    CgroupLimits { pids: pids.map(|(current, max)| Pids { current, max }), memory_bytes }
}

#[test]
fn the_fullest_cgroup_and_the_smallest_limit_of_memory_count_wherever_above_the_process_they_are() {
    let machine = Machine::new(V2);
    machine.unified("a", ["90", "100", "2147483648"]);
    machine.unified("a/b", ["50", "200", "1048576"]);
    machine.unified("a/b/c", ["10", "max", "max"]);
    machine.unified("a/b/c/below", ["9", "9", "1"]);
    machine.unified("beside", ["9", "9", "1"]);
    assert_eq!(machine.limits("0::/a/b/c\n"), Ok(limits(Some((90, 100)), Some(MIB))));
    machine.unified("a/b/c", ["10", "11", "4096"]);
    assert_eq!(machine.limits("0::/a/b/c\n"), Ok(limits(Some((10, 11)), Some(4096))));
}

#[test]
fn the_mount_itself_counts_as_in_a_container_of_version_2() {
    let machine = Machine::new(V2);
    machine.unified("", ["3", "4", "8192"]);
    assert_eq!(machine.limits("0::/\n"), Ok(limits(Some((3, 4)), Some(8192))));
}

#[test]
fn a_cgroup_without_files_or_with_nonsense_in_them_bounds_nothing() {
    let machine = Machine::new(V2);
    machine.write("sys/fs/cgroup/a/b/cgroup.procs", "");
    assert_eq!(machine.limits("0::/a/b\n"), Ok(CgroupLimits::default()));
    assert_eq!(machine.limits("0::/gone\n"), Ok(CgroupLimits::default()));
    for nonsense in
        ["", "-1", "1 2", "1k", "18446744073709551616", "00000000000000000000000000000000000000001"]
    {
        machine.unified("a", [nonsense; 3]);
        assert_eq!(machine.limits("0::/a\n"), Ok(CgroupLimits::default()), "{nonsense}");
    }
    for no_limit in [["max", "7", "max"], ["7", "max", "max"]] {
        machine.unified("a", no_limit);
        assert_eq!(machine.limits("0::/a\n"), Ok(CgroupLimits::default()), "{no_limit:?}");
    }
}

#[test]
fn a_cgroup_that_may_have_no_thread_is_full() {
    let machine = Machine::new(V2);
    machine.unified("a", ["9", "10", "max"]);
    machine.unified("a/b", ["0", "0", "0"]);
    assert_eq!(machine.limits("0::/a/b\n"), Ok(limits(Some((0, 0)), Some(0))));
}

#[test]
fn a_controller_is_taken_from_the_hierarchy_that_has_it() {
    let machine = Machine::new(HYBRID);
    machine.write("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "4194304\n");
    machine.write("sys/fs/cgroup/cpu,pids/p/pids.max", "20\n");
    machine.write("sys/fs/cgroup/cpu,pids/p/pids.current", "5\n");
    for folder in ["unified/u", "systemd/s", "memory/s", "memory/u"] {
        machine.unified(folder, ["9", "9", "1"]);
        machine.write(&format!("sys/fs/cgroup/{folder}/memory.limit_in_bytes"), "1\n");
    }
    let both = "9:name=systemd:/s\n8:cpu,pids:/p\n4:memory:/m\n0::/u\n";
    assert_eq!(machine.limits(both), Ok(limits(Some((5, 20)), Some(4 * MIB))));
    let memory_in_2 = "9:name=systemd:/s\n8:cpu,pids:/p\n0::/u\n";
    assert_eq!(machine.limits(memory_in_2), Ok(limits(Some((5, 20)), Some(1))));
    let named_like_it = "9:name=pids:/s\n4:memory:/m\n";
    assert_eq!(machine.limits(named_like_it), Ok(limits(None, Some(4 * MIB))));
}

#[test]
fn the_number_for_no_limit_of_version_1_is_none_whatever_the_size_of_pages() {
    let machine = Machine::new(HYBRID);
    let limit = |text: &str| {
        machine.write("sys/fs/cgroup/memory/m/memory.limit_in_bytes", text);
        machine.limits("4:memory:/m\n").unwrap().memory_bytes
    };
    for none in [NONE, "9223372036854710272\n", "9223372036854775807\n", "18446744073709551615\n"] {
        assert_eq!(limit(none), None, "{none}");
    }
    assert_eq!(limit("1099511627776\n"), Some(1 << 40));
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", NONE);
    assert_eq!(limit("8192\n"), Some(8192));
}

#[test]
fn a_path_is_relative_to_the_root_of_the_mount() {
    let machine = Machine::new(
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
         41 31 0:38 /../.. /host/cgroup ro - cgroup2 cgroup2 rw\n",
    );
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n");
    machine.write("sys/fs/cgroup/memory/sub/memory.limit_in_bytes", "12288\n");
    machine.write("host/cgroup/x/memory.max", "16384\n");
    for (membership, limit) in [
        ("4:memory:/docker/abc\n", Some(8192)),
        ("4:memory:/docker/abc/sub\n", Some(8192)),
        ("0::/../../x\n", Some(16384)),
    ] {
        assert_eq!(machine.limits(membership), Ok(limits(None, limit)), "{membership}");
    }
}

#[test]
fn a_path_that_no_mount_shows_is_unknown_and_no_error() {
    let machine = Machine::new(
        "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
         41 31 0:38 /.. /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n",
    );
    for folder in ["memory", "memory/sub", "memory/abcd", "unified", "unified/x", ".", "x"] {
        let folder = format!("sys/fs/cgroup/{folder}");
        machine.write(&format!("{folder}/memory.limit_in_bytes"), "1\n");
        machine.write(&format!("{folder}/memory.max"), "1\n");
    }
    let too_long = format!("4:memory:/docker/abc{}\n", "/sub".repeat(1024));
    for membership in [
        "4:memory:/docker\n",
        "4:memory:/docker/abcd\n",
        "4:memory:/docker/other\n",
        "4:memory:/docker/abc/../../x\n",
        "4:memory:docker/abc\n",
        "4:memory:\n",
        "4:memory:/\n0::/../x\n",
        "0::/\n",
        "0::/x\n",
        "0::/../../x\n",
        "0::../x\n",
        &too_long,
    ] {
        assert_eq!(machine.limits(membership), Ok(CgroupLimits::default()), "{membership}");
    }
}

#[test]
fn paths_may_have_spaces_backslashes_colons_and_bytes_that_are_no_text() {
    let machine = Machine::new("31 23 0:28 /a\\040b /sys/c\\134g\\011 rw - cgroup2 cgroup2 rw\n");
    machine.write("sys/c\\g\t/d:e f/memory.max", "4096\n");
    assert_eq!(machine.limits("0::/a b/d:e f\n"), Ok(limits(None, Some(4096))));
    assert_eq!(machine.limits("0::/a\\040b/d:e f\n"), Ok(CgroupLimits::default()));
    for path in [&b"/\xff\xfe"[..], b"/x\\x2dy", b"/\\", b"/a\r", b"/a:b #", "/\u{fc}\u{85}".as_bytes()] {
        let membership = Membership::parse(&[b"0::", path, b"\n"].concat()).unwrap();
        assert_eq!(membership.path().map(OsStr::as_encoded_bytes), Some(path));
    }
}

#[test]
fn of_several_mounts_the_one_that_shows_most_is_taken_and_none_that_is_covered() {
    let machine = Machine::new(
        "31 23 0:28 /a/b /shows/little rw - cgroup2 cgroup2 rw\n\
         32 23 0:28 /a /shows/more rw - cgroup2 cgroup2 rw\n\
         33 23 0:28 / /covered rw - cgroup2 cgroup2 rw\n\
         34 33 0:29 / /covered rw - tmpfs tmpfs rw\n",
    );
    machine.write("shows/little/memory.max", "8192\n");
    machine.write("shows/more/memory.max", "4096\n");
    machine.write("shows/more/b/memory.max", "8192\n");
    machine.write("covered/memory.max", "1\n");
    assert_eq!(machine.limits("0::/a/b\n"), Ok(limits(None, Some(4096))));
}

#[test]
fn lines_of_mountinfo_that_are_not_understood_are_left_out() {
    for nonsense in
        ["", "\n\n", "1 2 3\n", "31 23 0:28 / /sys rw\n", "31 23 0:28 / sys rw - cgroup2 x rw\n", "- - -"]
    {
        let machine = Machine::new(&format!("{nonsense}\n{V2}41 31 0:38 / /cut rw - cgroup2 cgroup2 rw"));
        let hierarchies = machine.cgroups().hierarchies;
        assert_eq!(hierarchies.mounts.len(), 1, "{nonsense:?}");
        assert_eq!(hierarchies.mounts[0].point, machine.root.path().join("sys/fs/cgroup"));
    }
    assert!(Hierarchies::read(&Proc::new("/nowhere"), Path::new("/")).is_err());
}

#[test]
fn files_of_a_cgroup_are_read_once_a_collection_however_many_processes_are_in_it_or_below_it() {
    let machine = Machine::new(V2);
    machine.unified("a", ["3", "4", "8192"]).unified("a/b", ["1", "max", "max"]);
    let mut cgroups = machine.cgroups();
    let before = Ok(limits(Some((3, 4)), Some(8192)));
    assert_eq!(machine.read(&mut cgroups, "0::/a\n"), before);
    machine.unified("a", ["4", "5", "4096"]);
    assert_eq!(machine.read(&mut cgroups, "0::/a\n"), before);
    assert_eq!(machine.read(&mut cgroups, "0::/a/b\n"), before);
    cgroups.begin_collection();
    assert_eq!(machine.read(&mut cgroups, "0::/a/b\n"), Ok(limits(Some((4, 5)), Some(4096))));
}

#[test]
fn cgroups_that_are_gone_are_forgotten() {
    let machine = Machine::new(V2);
    let mut cgroups = machine.cgroups();
    for collection in 0..100 {
        cgroups.begin_collection();
        machine.read(&mut cgroups, &format!("0::/a/{collection}\n")).unwrap();
    }
    // The mount, `a` and the last.
    assert_eq!((cgroups.pids.len(), cgroups.memory.len()), (3, 3));
    cgroups.begin_collection();
    assert_eq!((cgroups.pids.capacity(), cgroups.memory.capacity()), (0, 0));
}

#[test]
fn what_is_cut_off_or_no_line_of_the_file_is_not_understood() {
    let machine = Machine::new(V2);
    machine.unified("a", ["3", "4", "8192"]);
    for text in ["0::/a", "0::/a\n0::/a/b", "0:/a\n", "0::/a\n\n", "nonsense\n", "\u{0}"] {
        assert_eq!(machine.limits(text), Err(Unreadable::Unknown), "{text:?}");
    }
    // What the kernel writes where no hierarchy is mounted anywhere.
    assert_eq!(machine.limits(""), Ok(CgroupLimits::default()));
}

#[test]
fn without_hierarchies_the_file_of_a_process_is_not_read() {
    let machine = Machine::new("");
    fs::create_dir(machine.root.path().join("proc/7")).unwrap();
    let process = machine.proc().process(7).unwrap();
    assert_eq!(of(&mut machine.cgroups(), &process), Ok(CgroupLimits::default()));
    assert_eq!(of(&mut Cgroups::new(Hierarchies::default()), &process), Ok(CgroupLimits::default()));
    machine.write("proc/self/mountinfo", V2);
    assert_eq!(of(&mut machine.cgroups(), &process), Err(Unreadable::Gone));
}

/// The procfs crate reads the same files, and the walk is upwards to where no cgroup is any more.
#[test]
fn the_own_limits_are_those_that_another_reading_finds() {
    let myself = procfs::process::Process::myself().unwrap();
    let (Ok(mounts), Ok(memberships)) = (myself.mountinfo(), myself.cgroups()) else {
        // It refuses what is not UTF-8: nothing to compare with.
        return;
    };
    let (mounts, memberships) = (mounts.0, memberships.0);
    let has = |controllers: &[String], wanted: &str| controllers.iter().any(|name| name == wanted);
    // All values of a file from the process's cgroup upwards, where exactly one mount shows it: which of
    // several is taken has its own tests.
    let values_of = |controller: &str, legacy_file: &str, unified_file: &str| -> Option<Vec<u64>> {
        let legacy = memberships.iter().find(|membership| has(&membership.controllers, controller));
        let membership = legacy.or_else(|| memberships.iter().find(|membership| membership.hierarchy == 0));
        let membership = membership?;
        let mut fitting = mounts.iter().filter(|mount| match legacy {
            Some(_) => mount.fs_type == "cgroup" && mount.super_options.contains_key(controller),
            None => mount.fs_type == "cgroup2",
        });
        let (mount, None) = (fitting.next()?, fitting.next()) else { return None };
        // It leaves escapes as they are.
        let point = mount.mount_point.to_str().filter(|point| !point.contains('\\'))?;
        let below = membership.pathname.strip_prefix(mount.root.trim_end_matches('/'))?;
        let mut folder = PathBuf::from(format!("{point}{below}"));
        let mut values = vec![];
        while folder.join("cgroup.procs").exists() {
            let file = if legacy.is_some() { legacy_file } else { unified_file };
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            values.extend(text.trim().parse::<u64>().ok().filter(|&value| value < u64::MAX / 4));
            folder.pop();
        }
        Some(values)
    };
    let mut cgroups = Cgroups::new(Hierarchies::read(&Proc::new("/proc"), Path::new("/")).unwrap());
    let process = Proc::new("/proc").process(std::process::id()).unwrap();
    let bounds = of(&mut cgroups, &process).unwrap();
    if let Some(values) = values_of("memory", "memory.limit_in_bytes", "memory.max") {
        assert_eq!(bounds.memory_bytes, values.into_iter().min());
    }
    // Which is the fullest may have changed in between.
    if let Some(values) = values_of("pids", "pids.max", "pids.max") {
        assert_eq!(bounds.pids.is_some(), !values.is_empty());
        assert!(bounds.pids.is_none_or(|pids| values.contains(&pids.max)), "{bounds:?} {values:?}");
    }
}
