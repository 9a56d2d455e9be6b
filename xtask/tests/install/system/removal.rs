//! What an uninstallation removes.

use std::fs;

use super::service::{FOLDER, PROGRAM, SETTINGS, UNIT};
use crate::{case::Case, machine::Machine};

pub(crate) const CASES: &[Case] = &[
    ("nothing is left after it was removed", || {
        let machine = Machine::of_root();
        fs::create_dir_all(machine.at("/opt/instana/agent/plugins")).unwrap();
        let before = machine.files();
        machine.installs(&["--restart"]);
        machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
        machine.make_new_version();
        machine.installs(&["--restart"]);
        machine
            .write("/etc/systemd/system/m8refsvr-agent.service.d/override.conf", "[Service]\nMemoryMax=1G\n");
        machine.write("/var/log/private/m8refsvr/agent.log", "");
        let output = machine.run(&format!("{FOLDER}/install-m8refsvr-agent.sh"), &["-u"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert!(!machine.is_active());
        assert_eq!(machine.files(), before);
        let printed = machine.installs(&["--uninstall"]);
        assert!(printed.contains("not installed"), "{printed}");
    }),
    ("a unit whose file is gone is stopped, disabled and forgotten", || {
        let machine = Machine::of_root();
        let before = machine.files();
        machine.installs(&["--restart"]);
        fs::remove_file(machine.at(UNIT)).unwrap();
        machine.installs(&["--uninstall"]);
        assert!(!machine.is_active());
        assert_eq!(machine.files(), before);
    }),
    ("nothing is left, either, when the program's folder is gone", || {
        let machine = Machine::of_root();
        let before = machine.files();
        machine.installs(&["--restart"]);
        // As the Instana agent's own uninstallation does.
        fs::remove_dir_all(machine.at("/opt/instana")).unwrap();
        machine.installs(&["--uninstall"]);
        assert!(!machine.is_active());
        assert_eq!(machine.files(), before);
    }),
    ("a unit that was edited is still the script's", || {
        for start in [format!("/bin/nice {PROGRAM}"), "/usr/local/bin/wrapper".into()] {
            let machine = Machine::of_root();
            let before = machine.files();
            machine.installs(&["--restart"]);
            let unit = machine.read(UNIT);
            let edit = || machine.write(UNIT, &unit.replace(PROGRAM, &start));
            edit();
            machine.installs(&[]);
            assert_eq!(machine.read(UNIT), unit);
            edit();
            machine.installs(&["--uninstall"]);
            assert!(!machine.is_active());
            assert_eq!(machine.files(), before);
        }
    }),
];
