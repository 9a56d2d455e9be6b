//! Files that the script did not install stay as they are.

use std::fs;

use super::service::{FOLDER, SETTINGS, UNIT};
use crate::{
    case::Case,
    machine::{Machine, SOURCE},
};

pub(crate) const CASES: &[Case] = &[
    ("what stands where a file is to go is neither replaced nor removed", || {
        for path in [
            "/opt/m8/LICENSE",
            "/opt/m8/m8refsvr-agent",
            "/opt/m8/install-m8refsvr-agent.sh",
            "/opt/m8/agent.env.default",
            "/local/share/man/man1/m8refsvr-agent.1",
        ] {
            let machine = Machine::of_root();
            machine.write(path, "another's\n");
            let before = machine.files();
            let printed = machine.fails(&["-d", "/opt/m8"]);
            assert!(printed.contains(" is there already"), "{printed}");
            assert_eq!(machine.files(), before, "{path}");
            machine.installs(&["-d", "/opt/m8", "--uninstall"]);
            assert_eq!(machine.files(), before, "{path}");
        }
        let machine = Machine::of_root();
        machine.write("/opt/m8/agent.log", "another's\n");
        machine.write("/opt/m8/README", "another's\n");
        let before = machine.files();
        machine.installs(&["-d", "/opt/m8"]);
        machine.installs(&["--uninstall"]);
        assert_eq!(machine.files(), before);
    }),
    ("settings that were there first are kept until it is removed", || {
        let default = Machine::of_root().read(&format!("{SOURCE}/agent.env"));
        for settings in ["PROCESS_NAME=nginx\n", &default] {
            let machine = Machine::of_root();
            let before = machine.files();
            // Files of a package that is removed before the script uninstalls.
            machine.write(SETTINGS, settings);
            machine.write("/etc/m8refsvr/agent.env.beside", settings);
            machine.installs(&[]);
            machine.make_new_version();
            machine.installs(&[]);
            assert_eq!(machine.read(SETTINGS), settings);
            machine.installs(&["--uninstall"]);
            assert_eq!(machine.files(), before);
        }
    }),
    ("a unit that an administrator made is neither replaced nor removed", || {
        let package = Machine::of_root().read(&format!("{SOURCE}/m8refsvr-agent.service"));
        let own = package.replace("ExecStart=/usr/bin/", "ExecStart=/opt/own/");
        assert_ne!(own, package);
        for unit in [package, own] {
            let machine = Machine::of_root();
            machine.write(UNIT, &unit);
            let before = machine.files();
            let printed = machine.fails(&[]);
            assert!(printed.contains("not from this script"), "{printed}");
            assert_eq!(machine.files(), before);
            machine.installs(&["--uninstall"]);
            assert_eq!(machine.files(), before);
            // The unit is written after the script has installed.
            fs::remove_file(machine.at(UNIT)).unwrap();
            machine.installs(&[]);
            machine.write(UNIT, &unit);
            machine.fails(&[]);
            machine.installs(&["--uninstall"]);
            assert_eq!(machine.read(UNIT), unit);
            assert!(!machine.at(FOLDER).exists());
        }
    }),
];
