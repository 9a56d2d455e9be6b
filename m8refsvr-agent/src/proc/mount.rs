//! `/proc/self/mountinfo`: where file systems are mounted, and with which options.
//!
//! The procfs crate parses single lines. It would refuse a whole file for one line that it can't parse, or for one
//! byte that is not UTF-8, and leaves the kernel's escapes as they are. So each line is parsed alone, with all bytes
//! beyond ASCII escaped too, and the escapes are undone afterwards.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
};

use procfs::process::MountInfo;

use super::{
    Proc,
    text::{escape, unescape},
};

/// Bytes that are read: those of as many mounts as a kernel allows by default (`fs.mount-max`, 100,000), with long
/// lines.
const LIMIT: u64 = 32 << 20;

/// A visible mount: no other one covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The folder of the file system that is seen at the mount point.
    pub(super) root: PathBuf,
    pub(super) point: PathBuf,
    /// The type of the file system.
    pub(super) kind: String,
    /// Options of the file system; some have a value.
    pub(super) options: HashMap<String, Option<String>>,
}

/// The visible mounts of file systems of these types, in the order of `self/mountinfo` of a /proc.
pub(super) fn mounts_of(proc: &Proc, kinds: &[&str]) -> io::Result<Vec<Mount>> {
    let file = File::open(proc.root().join("self/mountinfo"))?;
    mounts_in(BufReader::new(file.take(LIMIT)), kinds)
}

/// The same, from the text of a mountinfo. Lines that can't be parsed are left out, and so is a line that was cut off.
pub(super) fn mounts_in(mut mountinfo: impl BufRead, kinds: &[&str]) -> io::Result<Vec<Mount>> {
    let mut covered = HashSet::new();
    let mut found = Vec::new();
    let mut line = Vec::new();
    // There may be tens of thousands: mounts of other types are not kept.
    while mountinfo.read_until(b'\n', &mut line)? > 0 {
        let parsed = line
            .strip_suffix(b"\n")
            .and_then(|line| MountInfo::from_line(&escape(line, |byte| byte.is_ascii())).ok());
        if let Some(info) = parsed {
            let path = |text: &str| PathBuf::from(unescape(text));
            let point = path(&info.mount_point.to_string_lossy());
            covered.insert((info.pid, point.clone()));
            if kinds.contains(&info.fs_type.as_str()) {
                let (root, kind, options) = (path(&info.root), info.fs_type, info.super_options);
                found.push((info.mnt_id, Mount { root, point, kind, options }));
            }
        }
        line.clear();
    }
    // A mount covers another when it is mounted on that one, at its own mount point.
    let is_visible = |(id, mount): (i32, Mount)| {
        let place = (id, mount.point.clone());
        (!covered.contains(&place)).then_some(mount)
    };
    Ok(found.into_iter().filter_map(is_visible).collect())
}

/// The value of an option with which `proc` is mounted; `None` where it is not set, or can't be read.
pub fn option(proc: &Proc, name: &str) -> Option<String> {
    let root = proc.root().canonicalize().ok()?;
    option_of(&mounts_of(&Proc::new("/proc"), &["proc"]).ok()?, &root, name)
}

/// The same, from the text of a mountinfo, for a /proc mounted at `root`.
pub fn option_in(mountinfo: &[u8], root: &Path, name: &str) -> Option<String> {
    option_of(&mounts_in(mountinfo, &["proc"]).ok()?, root, name)
}

fn option_of(mounts: &[Mount], root: &Path, name: &str) -> Option<String> {
    // Of several mounts at one folder the last is visible.
    let mount = mounts.iter().rev().find(|mount| mount.point == root)?;
    mount.options.get(name)?.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_those_of_the_last_mount_on_a_folder() {
        let text = b"22 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw,gid=4,hidepid=invisible\n\
                     23 28 0:22 / /sys rw - sysfs sysfs rw,hidepid=2\n\
                     24 22 0:21 / /proc/sys/fs ro - autofs systemd-1 rw,fd=29\n";
        let of = |text: &[u8], root: &str| option_in(text, Path::new(root), "hidepid");
        assert_eq!(of(text, "/proc").as_deref(), Some("invisible"));
        assert_eq!(of(text, "/sys"), None);
        assert_eq!(of(text, "/"), None);
        let again = [&text[..], b"30 22 0:40 / /proc rw - proc proc rw\n"].concat();
        assert_eq!(of(&again, "/proc"), None);
        for nonsense in
            [&b""[..], b"\n", b"1 2 3 4 /proc", b"1 2 3 4 /proc - proc", b"1 2 3 4 /proc - proc x"]
        {
            assert_eq!(of(nonsense, "/proc"), None);
        }
    }

    #[test]
    fn a_mount_point_may_have_any_bytes_and_costs_no_other_mount() {
        let text = b"22 28 0:21 / /odd\xff\xfe\\040\\134 rw - proc proc rw,hidepid=1\n\
                     23 28 0:21 / /proc rw - proc p\xffoc rw,hidepid=2,x=\xc3\n\
                     24 28 nonsense - - -\n\
                     25 28 0:21 / /host/proc rw shared:nonsense - proc proc rw,hidepid=3\n\
                     26 28 0:21 / /end rw - proc proc rw,hidepid=4";
        let points = mounts_in(&text[..], &["proc"]).unwrap();
        let points: Vec<_> = points.iter().map(|mount| mount.point.as_os_str().as_encoded_bytes()).collect();
        assert_eq!(points, [&b"/odd\xff\xfe \\"[..], b"/proc"]);
        assert_eq!(option_in(text, Path::new("/proc"), "hidepid").as_deref(), Some("2"));
    }

    #[test]
    fn a_mount_is_covered_by_one_on_it_at_the_same_place_alone() {
        let text = b"22 28 0:21 / /a rw - proc proc rw\n\
                     23 28 0:21 / /b rw - proc proc rw\n\
                     24 23 0:22 / /b rw - tmpfs tmpfs rw\n\
                     25 22 0:22 / /a/b rw - tmpfs tmpfs rw\n";
        let mounts = mounts_in(&text[..], &["proc"]).unwrap();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].point, Path::new("/a"));
    }

    /// procfs reads the same file by itself, where all of it is text.
    #[test]
    fn the_own_mounts_are_those_that_another_reading_finds() {
        let Ok(infos) = procfs::process::Process::myself().and_then(|process| process.mountinfo()) else {
            return;
        };
        let of_kind = infos.iter().filter(|info| info.fs_type == "proc");
        let points: Vec<_> = of_kind.map(|info| info.mount_point.clone()).collect();
        let mounts = mounts_of(&Proc::new("/proc"), &["proc"]).unwrap();
        assert!(mounts.iter().any(|mount| mount.point == Path::new("/proc")));
        assert!(mounts.iter().all(|mount| points.contains(&mount.point)), "{mounts:?} {points:?}");
    }
}
