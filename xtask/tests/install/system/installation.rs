//! What an installation by root puts where, and its options.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use super::service::{FOLDER, PROGRAM, SETTINGS, UNIT, is_enabled, mode};
use crate::{
    case::Case,
    machine::{Machine, SOURCE},
};

pub(crate) const CASES: &[Case] = &[
    ("root gets a service that starts at boot", || {
        let machine = Machine::of_root();
        let printed = machine.installs(&[]);
        assert!(printed.contains("systemctl start m8refsvr-agent"), "{printed}");
        assert_eq!(
            (mode(&machine, PROGRAM), mode(&machine, UNIT), mode(&machine, SETTINGS)),
            (0o755, 0o644, 0o600)
        );
        assert!(machine.read(UNIT).contains(&format!("\nExecStart={PROGRAM} ")));
        assert!(is_enabled(&machine));
        assert_eq!(machine.systemctl_calls(), ["daemon-reload", "reenable"]);
        assert!(!machine.is_active());
    }),
    ("a second run changes nothing", || {
        let machine = Machine::of_root();
        machine.installs(&[]);
        let inode = || fs::metadata(machine.at(PROGRAM)).unwrap().ino();
        let before = (machine.files(), inode());
        machine.installs(&[]);
        assert_eq!((machine.files(), inode()), before);
    }),
    ("an image without a running systemd starts it at its first boot", || {
        let machine = Machine::of_root();
        fs::remove_dir_all(machine.at("/run/systemd")).unwrap();
        machine.installs(&["--restart"]);
        assert!(is_enabled(&machine));
        assert_eq!(machine.systemctl_calls(), ["reenable"]);
        machine.installs(&["--uninstall"]);
        assert!(!machine.at(UNIT).exists() && !is_enabled(&machine));
    }),
    ("modes of files that did not change are set right", || {
        let machine = Machine::of_root();
        machine.installs(&[]);
        let before = machine.files();
        for (path, mode) in [(PROGRAM, 0o644), (SETTINGS, 0o644), (UNIT, 0o600)] {
            fs::set_permissions(machine.at(path), Permissions::from_mode(mode)).unwrap();
        }
        machine.installs(&[]);
        assert_eq!(machine.files(), before);
    }),
    ("a program that does not run where it was installed is not left there", || {
        let machine = Machine::of_root();
        let before = machine.files();
        let output = machine.sh(
            "mount -t tmpfs -o noexec tmpfs /opt && sh /srv/m8refsvr-agent/install-m8refsvr-agent.sh; status=$?
            find /opt -mindepth 1; exit $status",
        );
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(printed.contains("does not run there"), "{printed}");
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        assert_eq!(machine.files(), before);
    }),
    ("a CDPATH leads nowhere else", || {
        let machine = Machine::of_root();
        fs::create_dir_all(machine.at("/var/other/m8refsvr-agent")).unwrap();
        let output = machine.sh("cd /srv && CDPATH=/var/other sh m8refsvr-agent/install-m8refsvr-agent.sh");
        assert!(output.status.success(), "{output:?}");
        assert!(machine.at(PROGRAM).exists());
    }),
    ("there is a man page, unless nobody can write to /usr/local", || {
        let pages = ["m8refsvr-agent.1", "m8refsvr-agent-check.1"];
        let machine = Machine::of_root();
        machine.installs(&[]);
        for page in pages {
            assert_eq!(mode(&machine, &format!("/local/share/man/man1/{page}")), 0o644);
        }
        let machine = Machine::of_root();
        let script = &format!("{SOURCE}/install-m8refsvr-agent.sh");
        let output = machine.sh(&format!("mount -o remount,bind,ro /usr/local && exec {script}"));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(machine.at(PROGRAM).exists() && !machine.at("/local/share").exists());
    }),
    ("help and wrong usage", || {
        let machine = Machine::of_root();
        let before = machine.files();
        let help = machine.installs(&["--help"]);
        for word in ["--directory", "--restart", "--uninstall", "--help", FOLDER] {
            assert!(help.contains(word), "{word}");
        }
        assert_eq!(machine.install(&["--frobnicate"]).status.code(), Some(2));
        assert_eq!(machine.install(&["-d"]).status.code(), Some(2));
        assert_eq!(machine.files(), before);
    }),
];
