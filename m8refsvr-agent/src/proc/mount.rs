//! With which options a /proc is mounted.

use std::{fs, os::unix::ffi::OsStrExt as _, path::Path};

use super::Proc;

/// The value of an option of the mount that `proc` is; `None` where it is not set, or can't be known.
pub fn option(proc: &Proc, name: &str) -> Option<String> {
    let root = proc.root().canonicalize().ok()?;
    option_in(&fs::read("/proc/self/mountinfo").ok()?, &root, name)
}

/// The same of a mount of the kind proc in a mountinfo, whose layout is that of `show_mountinfo` in
/// `fs/proc_namespace.c`: the mount point is the fifth field, and options of the file system are the third after a lone
/// hyphen. A path with characters that are escaped there is not found.
pub fn option_in(mountinfo: &[u8], root: &Path, name: &str) -> Option<String> {
    let mut lines = mountinfo.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let point = fields.nth(4)?;
        let mut after = fields.skip_while(|&field| field != b"-").skip(1);
        (after.next()? == b"proc" && point == root.as_os_str().as_bytes()).then(|| after.nth(1))?
    });
    // Of several on one folder the last is seen.
    let options = lines.next_back()?;
    options.split(|&byte| byte == b',').find_map(|option| {
        let value = option.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_on_a_folder_tells_the_options() {
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
}
