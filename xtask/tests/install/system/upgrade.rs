//! What an upgrade changes and what it keeps.

use std::fs;

use super::service::{FOLDER, SETTINGS, UNIT, is_enabled};
use crate::{case::Case, machine::Machine};

pub(crate) const CASES: &[Case] = &[
    ("with --restart the service runs, and runs the new code after an upgrade", || {
        let machine = Machine::of_root();
        machine.installs(&["--restart"]);
        assert!(machine.is_active());
        machine.make_new_version();
        machine.systemctl_calls();
        let printed = machine.installs(&[]);
        assert!(printed.contains("still the one from before"), "{printed}");
        assert!(!machine.systemctl_calls().contains(&"restart".into()));
        machine.installs(&["-r"]);
        assert_eq!(machine.systemctl_calls().last().map(String::as_str), Some("restart"));
    }),
    ("an upgrade keeps settings that were edited", || {
        let machine = Machine::of_root();
        machine.installs(&[]);
        machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
        machine.installs(&[]);
        assert!(
            !machine.at("/etc/m8refsvr/agent.env.new").exists(),
            "the default settings are those from before"
        );
        machine.make_new_version();
        let printed = machine.installs(&[]);
        assert!(printed.contains("kept /etc/m8refsvr/agent.env"), "{printed}");
        assert_eq!(machine.read(SETTINGS), "PROCESS_NAME=nginx\n");
        assert!(machine.read("/etc/m8refsvr/agent.env.new").ends_with("# later\n"));
    }),
    ("an upgrade renews settings that were not edited", || {
        let machine = Machine::of_root();
        machine.installs(&[]);
        machine.make_new_version();
        machine.installs(&[]);
        assert!(machine.read(SETTINGS).ends_with("# later\n"));
        assert!(machine.read(UNIT).ends_with("# later\n"));
        assert!(!machine.at("/etc/m8refsvr/agent.env.new").exists());
    }),
    ("an upgrade finds where it is installed", || {
        let machine = Machine::of_root();
        machine.installs(&["--directory", "/opt/m8/"]);
        machine.make_new_version();
        machine.installs(&[]);
        assert!(machine.read(UNIT).contains("\nExecStart=/opt/m8/m8refsvr-agent "));
        assert!(!machine.at(FOLDER).exists());
        let before = machine.files();
        let printed = machine.fails(&["-d", FOLDER]);
        assert!(printed.contains("installed in /opt/m8 already"), "{printed}");
        assert_eq!(machine.files(), before);
    }),
    ("a folder that is gone is made again by an upgrade", || {
        let machine = Machine::of_root();
        machine.installs(&[]);
        let before = machine.files();
        fs::remove_dir_all(machine.at("/opt/instana")).unwrap();
        machine.installs(&[]);
        assert_eq!(machine.files(), before);
    }),
    ("what was disabled stays so in an upgrade", || {
        let machine = Machine::of_root();
        machine.installs(&[]);
        assert!(machine.sh("systemctl disable --quiet m8refsvr-agent").status.success());
        machine.make_new_version();
        machine.installs(&["--restart"]);
        assert!(!is_enabled(&machine));
    }),
];
