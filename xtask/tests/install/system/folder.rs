//! Which folders the script accepts for the program.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, symlink},
};

use crate::{case::Case, machine::Machine};

pub(crate) const CASES: &[Case] = &[
    ("a folder that the service can't see is refused", || {
        let machine = Machine::of_root();
        let before = machine.files();
        for folder in
            ["/home/user/agent", "/tmp/agent", "/root", "/opt/a b", "/opt/../root/agent", "/opt/$HOME"]
        {
            machine.fails(&["--directory", folder]);
            assert_eq!(machine.files(), before, "{folder}");
        }
    }),
    ("neither no folder nor the root folder means the default one", || {
        let machine = Machine::of_root();
        let before = machine.files();
        let printed = machine.fails(&["-d", ""]) + &machine.fails(&["--directory="]);
        assert_eq!(printed.matches("--directory needs a folder").count(), 2, "{printed}");
        let printed = machine.fails(&["-d", "/"]);
        assert!(printed.contains("give a folder of the program's own"), "{printed}");
        assert_eq!(machine.files(), before);
    }),
    ("a folder behind a link is where the link leads to", || {
        let machine = Machine::of_root();
        fs::create_dir(machine.at("/opt/real")).unwrap();
        symlink("/home", machine.at("/opt/homes")).unwrap();
        symlink("real", machine.at("/opt/link")).unwrap();
        let before = machine.files();
        let printed = machine.fails(&["-d", "/opt/homes/user/agent"]);
        assert!(printed.contains("the service can't see files there"), "{printed}");
        assert_eq!(machine.files(), before);
        machine.installs(&["-d", "/opt/link/agent"]);
        machine.installs(&["--uninstall"]);
        assert_eq!(machine.files(), before);
    }),
    ("where a link leads to is found without readlink", || {
        let machine = Machine::of_root();
        symlink("/home", machine.at("/opt/homes")).unwrap();
        symlink("/", machine.at("/opt/all")).unwrap();
        // The readlink of busybox lacks options of GNU's.
        machine.write("/stubs/readlink", "#!/bin/sh\nexit 1\n");
        fs::set_permissions(machine.at("/stubs/readlink"), Permissions::from_mode(0o755)).unwrap();
        for folder in ["/opt/homes/user/agent", "/opt/all/root/agent"] {
            let printed = machine.fails(&["-d", folder]);
            assert!(printed.contains("the service can't see files there"), "{printed}");
        }
    }),
    ("a folder that is gone after the next boot is refused", || {
        for machine in [Machine::of_root(), Machine::of_user()] {
            symlink("/run", machine.at("/var/run")).unwrap();
            let before = machine.files();
            for folder in ["/run/agent", "/var/run/user/agent", "/dev/shm/agent"] {
                let printed = machine.fails(&["--directory", folder]);
                assert!(printed.contains("outlasts a boot"), "{printed}");
            }
            assert_eq!(machine.files(), before);
        }
    }),
];
