//! What the control groups of a process bound it by: its own and all above it, of both versions of cgroups and of
//! machines that use both.
//!
//! Layouts: `proc_cgroup_show` in `kernel/cgroup/cgroup.c` (`/proc/PID/cgroup`),
//! `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/` beside it. The procfs crate takes the file of a process
//! apart. It refuses it all for a byte that is not UTF-8, and takes a carriage return at the end of a path away: so it
//! gets the text with both escaped. Files of cgroups are no part of it.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use procfs::{FromBufRead as _, ProcessCGroups};

use super::{Proc, Process, Unreadable, escaped, limits::ratio, mount, number, unescaped};

/// Bytes of `/proc/PID/cgroup` that are read: enough for a path of `PATH_MAX` in each of the hierarchies that the
/// controllers can make up.
const MEMBERSHIP_LIMIT: usize = 1 << 16;
/// Bytes of a file of a cgroup that are read: more than any number has.
const VALUE_LIMIT: usize = 32;
/// A path is as long as `PATH_MAX` at most, so that no text makes this collection at more cgroups than a kernel can have
/// above each other.
const PATH_LIMIT: usize = 4096;
/// The kinds of file systems that show cgroups.
const KINDS: &[&str] = &["cgroup", "cgroup2"];
/// From here on a limit of memory is none: version 1 tells "no limit" as `PAGE_COUNTER_MAX` pages
/// (`include/linux/page_counter.h`), 2^63 bytes less up to a page, of a size that differs between machines.
const NO_MEMORY_LIMIT: u64 = 1 << 62;

/// What cgroups bound a process by. A controller that is off, a cgroup without a limit and one that can't be seen
/// are all `None`: in a container nobody can tell what is above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The fullest of the cgroups that have a limit of threads.
    pub pids: Option<Pids>,
    /// The smallest limit of memory, bytes. Before Linux 5.11 version 1 could be told that a limit does not bind the
    /// cgroups below (`memory.use_hierarchy`), which systemd does not do; it is taken as if it did.
    pub memory_bytes: Option<u64>,
}

/// Threads of a cgroup and those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pids {
    /// `pids.current`: how many there are.
    pub current: u64,
    /// `pids.max`: how many there may be.
    pub max: u64,
}

impl Pids {
    /// Which part of the limit is used, as [`ratio`] tells.
    pub fn ratio(&self) -> f64 {
        ratio(self.current, self.max)
    }

    fn read(folder: &Path) -> Option<Self> {
        let max = value(&folder.join("pids.max"))?;
        Some(Self { current: value(&folder.join("pids.current"))?, max })
    }
}

/// Where cgroups can be seen: the mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchies {
    mounts: Vec<Mount>,
}

impl Hierarchies {
    /// Those that `self/mountinfo` of a /proc tells of: what the agent itself sees, even if that /proc is the host's
    /// and the agent in a container. Mount points are looked for below `root`, usually `/`.
    pub fn read(proc: &Proc, root: &Path) -> io::Result<Self> {
        Ok(Self::of(mount::mounts_of(proc, KINDS)?, root))
    }

    /// The same of a mountinfo. Lines that are not understood are left out.
    pub fn parse(mountinfo: &[u8], root: &Path) -> Self {
        Self::of(mount::mounts_in(mountinfo, KINDS).unwrap_or_default(), root)
    }

    fn of(mounts: Vec<mount::Mount>, root: &Path) -> Self {
        let mut mounts: Vec<Mount> = mounts.into_iter().filter_map(|mount| Mount::new(mount, root)).collect();
        // Of two that show a cgroup, the one with the shorter root shows more of those above it.
        mounts.sort_by_key(|mount| mount.root.as_os_str().len());
        Self { mounts }
    }

    /// The folders of the cgroup in which a controller has a process, and of all above it, as far as a mount shows them.
    pub fn folders(
        &self,
        membership: &Membership,
        controller: Controller,
    ) -> impl Iterator<Item = (Hierarchy, PathBuf)> {
        let shown = membership.place(controller).and_then(|(hierarchy, path)| {
            let mut mounts = self.mounts.iter().filter(|mount| mount.hierarchies.contains(&hierarchy));
            mounts.find_map(|mount| Some((hierarchy, mount, mount.below(path)?)))
        });
        shown.into_iter().flat_map(|(hierarchy, mount, below)| {
            below.ancestors().map(move |folder| (hierarchy, mount.point.join(folder)))
        })
    }
}

/// A controller that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Of threads.
    Pids,
    /// Of memory.
    Memory,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Pids => "pids",
            Self::Memory => "memory",
        }
    }
}

/// A hierarchy that has such controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// That of version 2.
    Unified,
    /// The one of version 1 that has this one.
    Legacy(Controller),
}

/// A place where a hierarchy is mounted, and is not covered by what was mounted over it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    hierarchies: Vec<Hierarchy>,
    /// The cgroup that is seen at the mount point.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    fn new(mount: mount::Mount, root: &Path) -> Option<Self> {
        let hierarchies: Vec<Hierarchy> = match mount.kind.as_str() {
            "cgroup2" => vec![Hierarchy::Unified],
            _ => {
                let controllers = [Controller::Pids, Controller::Memory].into_iter();
                let has = |it: &Controller| mount.options.contains_key(it.name());
                controllers.filter(has).map(Hierarchy::Legacy).collect()
            }
        };
        let point = root.join(mount.point.strip_prefix("/").ok()?);
        (!hierarchies.is_empty()).then_some(Self { hierarchies, root: mount.root, point })
    }

    /// Where below the mount point a cgroup is; `None` when it is not there. Both paths start at the cgroup that is
    /// the root to the agent, and lead out of it by `/..`.
    fn below<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        let below = path.strip_prefix(&self.root).ok()?;
        below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
    }
}

/// In which cgroups a process is, as its file tells. The same is kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership(Arc<Paths>);

/// The cgroups of a process by their paths, which may have any bytes but newlines.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Paths {
    unified: Option<OsString>,
    pids: Option<OsString>,
    memory: Option<OsString>,
}

impl Membership {
    /// Reads it. Of a process whose first thread has ended pass a living one, as to [`Cgroups::membership`].
    pub fn read(process: &Process, buffer: &mut Vec<u8>) -> Result<Self, Unreadable> {
        process.read("cgroup", MEMBERSHIP_LIMIT, buffer)?;
        Self::parse(buffer).ok_or(Unreadable::Unknown)
    }

    /// Takes a process's file apart. Where its end is missing, the last path would be that of a cgroup above.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if !text.is_empty() && !text.ends_with(b"\n") {
            return None;
        }
        let text = escaped(text, |byte| byte.is_ascii() && !matches!(byte, b'\\' | b'\r'));
        let ProcessCGroups(cgroups) = ProcessCGroups::from_buf_read(text.as_bytes()).ok()?;
        let unified = cgroups.iter().find(|it| it.hierarchy == 0 && it.controllers.is_empty());
        let legacy = |controller: Controller| {
            let has = |names: &[String]| names.iter().any(|name| name == controller.name());
            cgroups.iter().find(|it| has(&it.controllers)).map(|it| unescaped(&it.pathname))
        };
        Some(Self(Arc::new(Paths {
            unified: unified.map(|it| unescaped(&it.pathname)),
            pids: legacy(Controller::Pids),
            memory: legacy(Controller::Memory),
        })))
    }

    /// Which hierarchy has a controller, and where in it the process is. One that version 1 has is not in version 2.
    fn place(&self, controller: Controller) -> Option<(Hierarchy, &Path)> {
        let Paths { unified, pids, memory } = &*self.0;
        let legacy = match controller {
            Controller::Pids => pids,
            Controller::Memory => memory,
        };
        let place = match legacy {
            Some(path) => (Hierarchy::Legacy(controller), path),
            None => (Hierarchy::Unified, unified.as_ref()?),
        };
        let (hierarchy, path) = (place.0, Path::new(place.1));
        (path.as_os_str().len() <= PATH_LIMIT).then_some((hierarchy, path))
    }

    /// The cgroup that describes the process: that of version 2, or where that is not mounted the one that bounds its
    /// memory.
    pub fn path(&self) -> Option<&OsStr> {
        self.paths().next()
    }

    /// That one and, where both versions are mounted, the one that bounds its memory: of a container a runtime may use
    /// version 1 alone.
    pub fn paths(&self) -> impl Iterator<Item = &OsStr> {
        let Paths { unified, memory, .. } = &*self.0;
        let paths = [unified.as_deref(), memory.as_deref()].into_iter().flatten();
        paths.filter(|path| path.len() <= PATH_LIMIT)
    }
}

/// What the cgroups of processes bound them by. Each file of a cgroup is read once a collection, however many processes
/// are in it or below it.
#[derive(Debug)]
pub struct Cgroups {
    hierarchies: Hierarchies,
    bounds: HashMap<Membership, Bounds>,
    /// By folder, and so is the other.
    pids: HashMap<PathBuf, Option<Pids>>,
    memory: HashMap<PathBuf, Option<u64>>,
}

impl Cgroups {
    /// Those of these hierarchies.
    pub fn new(hierarchies: Hierarchies) -> Self {
        Self { hierarchies, bounds: HashMap::new(), pids: HashMap::new(), memory: HashMap::new() }
    }

    /// Forgets what the previous collection saw, and with it the cgroups that are gone.
    pub fn begin_collection(&mut self) {
        // `clear` would keep the room of the largest look for ever.
        self.bounds = HashMap::new();
        self.pids = HashMap::new();
        self.memory = HashMap::new();
    }

    /// Reads in which cgroups a process is. Errors are those of the process's own file.
    ///
    /// Of a process whose first thread has ended, version 1 tells the root instead (`proc_cgroup_show`): pass
    /// [`Process::living_thread`].
    pub fn membership(&self, process: &Process, buffer: &mut Vec<u8>) -> Result<Membership, Unreadable> {
        // A kernel without cgroups has no such file, which is not to look as if the process had ended.
        if self.hierarchies.mounts.is_empty() {
            return Ok(Membership::default());
        }
        let membership = Membership::read(process, buffer)?;
        let known = self.bounds.get_key_value(&membership).map(|(known, _)| known.clone());
        Ok(known.unwrap_or(membership))
    }

    /// What bounds the processes in these cgroups; `None` for what can't be seen of them.
    pub fn of(&mut self, membership: &Membership) -> Bounds {
        let Self { hierarchies, bounds, pids, memory } = self;
        if let Some(bounds) = bounds.get(membership) {
            return *bounds;
        }
        let folders = |controller| hierarchies.folders(membership, controller);
        let pids = folders(Controller::Pids)
            .filter_map(|(_, folder)| *pids.entry(folder).or_insert_with_key(|folder| Pids::read(folder)));
        let memory = folders(Controller::Memory).filter_map(|(hierarchy, folder)| {
            *memory.entry(folder).or_insert_with_key(|folder| memory_limit(hierarchy, folder))
        });
        let of_these = Bounds {
            pids: pids.max_by(|one, other| one.ratio().total_cmp(&other.ratio())),
            memory_bytes: memory.min(),
        };
        bounds.insert(membership.clone(), of_these);
        of_these
    }
}

/// The limit of memory of a cgroup itself, bytes.
fn memory_limit(hierarchy: Hierarchy, folder: &Path) -> Option<u64> {
    let file = match hierarchy {
        Hierarchy::Unified => "memory.max",
        Hierarchy::Legacy(_) => "memory.limit_in_bytes",
    };
    value(&folder.join(file)).filter(|&limit| limit < NO_MEMORY_LIMIT)
}

/// The number in a file; `None` for `max`, which is no limit.
fn value(file: &Path) -> Option<u64> {
    let mut text = [0; VALUE_LIMIT];
    let length = File::open(file).ok()?.read(&mut text).ok()?;
    // Without its end it was cut off.
    number(text.get(..length)?.strip_suffix(b"\n")?)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStringExt as _};

    use super::*;

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

        /// What `cgroups` tells of a process whose file is this.
        fn asked(&self, cgroups: &mut Cgroups, membership: &str) -> Result<Bounds, Unreadable> {
            self.write("proc/7/cgroup", membership);
            of(cgroups, &self.proc().process(7).unwrap())
        }

        fn bounds(&self, membership: &str) -> Result<Bounds, Unreadable> {
            self.asked(&mut self.cgroups(), membership)
        }
    }

    /// What bounds a process.
    fn of(cgroups: &mut Cgroups, process: &Process) -> Result<Bounds, Unreadable> {
        let membership = cgroups.membership(process, &mut Vec::new())?;
        Ok(cgroups.of(&membership))
    }

    fn bounds(pids: Option<(u64, u64)>, memory_bytes: Option<u64>) -> Bounds {
        Bounds { pids: pids.map(|(current, max)| Pids { current, max }), memory_bytes }
    }

    #[test]
    fn the_fullest_cgroup_and_the_smallest_limit_of_memory_count_wherever_above_the_process_they_are() {
        let machine = Machine::new(V2);
        machine.unified("a", ["90", "100", "2147483648"]);
        machine.unified("a/b", ["50", "200", "1048576"]);
        machine.unified("a/b/c", ["10", "max", "max"]);
        machine.unified("a/b/c/below", ["9", "9", "1"]);
        machine.unified("beside", ["9", "9", "1"]);
        assert_eq!(machine.bounds("0::/a/b/c\n"), Ok(bounds(Some((90, 100)), Some(MIB))));
        machine.unified("a/b/c", ["10", "11", "4096"]);
        assert_eq!(machine.bounds("0::/a/b/c\n"), Ok(bounds(Some((10, 11)), Some(4096))));
    }

    #[test]
    fn the_mount_itself_counts_as_in_a_container_of_version_2() {
        let machine = Machine::new(V2);
        machine.unified("", ["3", "4", "8192"]);
        assert_eq!(machine.bounds("0::/\n"), Ok(bounds(Some((3, 4)), Some(8192))));
    }

    #[test]
    fn a_cgroup_without_files_or_with_nonsense_in_them_bounds_nothing() {
        let machine = Machine::new(V2);
        machine.write("sys/fs/cgroup/a/b/cgroup.procs", "");
        assert_eq!(machine.bounds("0::/a/b\n"), Ok(Bounds::default()));
        assert_eq!(machine.bounds("0::/gone\n"), Ok(Bounds::default()));
        for nonsense in
            ["", "-1", "1 2", "1k", "18446744073709551616", "00000000000000000000000000000000000000001"]
        {
            machine.unified("a", [nonsense; 3]);
            assert_eq!(machine.bounds("0::/a\n"), Ok(Bounds::default()), "{nonsense}");
        }
        for no_limit in [["max", "7", "max"], ["7", "max", "max"]] {
            machine.unified("a", no_limit);
            assert_eq!(machine.bounds("0::/a\n"), Ok(Bounds::default()), "{no_limit:?}");
        }
    }

    #[test]
    fn a_cgroup_that_may_have_no_thread_is_full() {
        let machine = Machine::new(V2);
        machine.unified("a", ["9", "10", "max"]);
        machine.unified("a/b", ["0", "0", "0"]);
        assert_eq!(machine.bounds("0::/a/b\n"), Ok(bounds(Some((0, 0)), Some(0))));
    }

    #[test]
    fn a_controller_is_looked_for_in_the_hierarchy_that_has_it() {
        let machine = Machine::new(HYBRID);
        machine.write("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "4194304\n");
        machine.write("sys/fs/cgroup/cpu,pids/p/pids.max", "20\n");
        machine.write("sys/fs/cgroup/cpu,pids/p/pids.current", "5\n");
        for folder in ["unified/u", "systemd/s", "memory/s", "memory/u"] {
            machine.unified(folder, ["9", "9", "1"]);
            machine.write(&format!("sys/fs/cgroup/{folder}/memory.limit_in_bytes"), "1\n");
        }
        let both = "9:name=systemd:/s\n8:cpu,pids:/p\n4:memory:/m\n0::/u\n";
        assert_eq!(machine.bounds(both), Ok(bounds(Some((5, 20)), Some(4 * MIB))));
        let memory_in_2 = "9:name=systemd:/s\n8:cpu,pids:/p\n0::/u\n";
        assert_eq!(machine.bounds(memory_in_2), Ok(bounds(Some((5, 20)), Some(1))));
        let named_like_it = "9:name=pids:/s\n4:memory:/m\n";
        assert_eq!(machine.bounds(named_like_it), Ok(bounds(None, Some(4 * MIB))));
    }

    #[test]
    fn the_number_for_no_limit_of_version_1_is_none_whatever_the_size_of_pages() {
        let machine = Machine::new(HYBRID);
        let limit = |text: &str| {
            machine.write("sys/fs/cgroup/memory/m/memory.limit_in_bytes", text);
            machine.bounds("4:memory:/m\n").unwrap().memory_bytes
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
            assert_eq!(machine.bounds(membership), Ok(bounds(None, limit)), "{membership}");
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
            assert_eq!(machine.bounds(membership), Ok(Bounds::default()), "{membership}");
        }
    }

    #[test]
    fn paths_may_have_spaces_backslashes_colons_and_bytes_that_are_no_text() {
        let machine = Machine::new("31 23 0:28 /a\\040b /sys/c\\134g\\011 rw - cgroup2 cgroup2 rw\n");
        machine.write("sys/c\\g\t/d:e f/memory.max", "4096\n");
        assert_eq!(machine.bounds("0::/a b/d:e f\n"), Ok(bounds(None, Some(4096))));
        assert_eq!(machine.bounds("0::/a\\040b/d:e f\n"), Ok(Bounds::default()));
        let unescaped = |text: &[u8]| unescaped(&escaped(text, |byte| byte.is_ascii())).into_vec();
        assert_eq!(unescaped(b"/\\377\xfe\\012"), b"/\xff\xfe\n");
        assert_eq!(unescaped(b"\\400\\08\\9\\"), b"\\400\\08\\9\\");
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
        assert_eq!(machine.bounds("0::/a/b\n"), Ok(bounds(None, Some(4096))));
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
    fn files_of_a_cgroup_are_read_once_a_look_however_many_processes_are_in_it_or_below_it() {
        let machine = Machine::new(V2);
        machine.unified("a", ["3", "4", "8192"]).unified("a/b", ["1", "max", "max"]);
        let mut cgroups = machine.cgroups();
        let before = Ok(bounds(Some((3, 4)), Some(8192)));
        assert_eq!(machine.asked(&mut cgroups, "0::/a\n"), before);
        machine.unified("a", ["4", "5", "4096"]);
        assert_eq!(machine.asked(&mut cgroups, "0::/a\n"), before);
        assert_eq!(machine.asked(&mut cgroups, "0::/a/b\n"), before);
        cgroups.begin_collection();
        assert_eq!(machine.asked(&mut cgroups, "0::/a/b\n"), Ok(bounds(Some((4, 5)), Some(4096))));
    }

    #[test]
    fn cgroups_that_are_gone_are_forgotten() {
        let machine = Machine::new(V2);
        let mut cgroups = machine.cgroups();
        for look in 0..100 {
            cgroups.begin_collection();
            machine.asked(&mut cgroups, &format!("0::/a/{look}\n")).unwrap();
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
            assert_eq!(machine.bounds(text), Err(Unreadable::Unknown), "{text:?}");
        }
        // What the kernel tells where no hierarchy is mounted anywhere.
        assert_eq!(machine.bounds(""), Ok(Bounds::default()));
    }

    #[test]
    fn without_hierarchies_a_process_is_not_looked_at() {
        let machine = Machine::new("");
        fs::create_dir(machine.root.path().join("proc/7")).unwrap();
        let process = machine.proc().process(7).unwrap();
        assert_eq!(of(&mut machine.cgroups(), &process), Ok(Bounds::default()));
        assert_eq!(of(&mut Cgroups::new(Hierarchies::default()), &process), Ok(Bounds::default()));
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
        // All values of a file from the process's cgroup upwards, where exactly one mount tells of it: which of
        // several is taken has its own tests.
        let told = |controller: &str, legacy_file: &str, unified_file: &str| -> Option<Vec<u64>> {
            let legacy = memberships.iter().find(|membership| has(&membership.controllers, controller));
            let membership =
                legacy.or_else(|| memberships.iter().find(|membership| membership.hierarchy == 0));
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
        if let Some(values) = told("memory", "memory.limit_in_bytes", "memory.max") {
            assert_eq!(bounds.memory_bytes, values.into_iter().min());
        }
        // Which is the fullest may have changed in between.
        if let Some(values) = told("pids", "pids.max", "pids.max") {
            assert_eq!(bounds.pids.is_some(), !values.is_empty());
            assert!(bounds.pids.is_none_or(|pids| values.contains(&pids.max)), "{bounds:?} {values:?}");
        }
    }
}
