//! An installation or upgrade that fails or is interrupted takes back what it did.

use super::service::{SETTINGS, is_enabled};
use crate::{case::Case, machine::Machine};

pub(crate) const CASES: &[Case] = &[
    ("an installation that fails at any step leaves nothing", || {
        for step in ["daemon-reload", "reenable", "restart"] {
            let machine = Machine::of_root();
            let before = machine.files();
            machine.write("/run/refuse", step);
            let printed = machine.fails(&["--restart"]);
            assert!(printed.contains("taking back"), "{step}: {printed}");
            assert_eq!(machine.files(), before, "{step}");
            assert!(!machine.is_active(), "{step}");
        }
    }),
    ("an upgrade that fails at any step leaves what was", || {
        for step in ["daemon-reload", "restart"] {
            let machine = Machine::of_root();
            machine.installs(&["--restart"]);
            machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
            machine.make_new_version();
            let before = machine.files();
            machine.write("/run/refuse", step);
            machine.systemctl_calls();
            machine.fails(&["--restart"]);
            assert_eq!(machine.files(), before, "{step}");
            assert!(is_enabled(&machine), "{step}");
            let did = machine.systemctl_calls();
            assert_eq!(
                did[did.len() - 2..],
                ["daemon-reload", "restart"],
                "{step}: the old version is to run again"
            );
        }
    }),
    ("an interrupted installation leaves nothing", || {
        let machine = Machine::of_root();
        let before = machine.files();
        machine.write("/run/interrupt", "reenable");
        machine.fails(&[]);
        assert_eq!(machine.files(), before);
    }),
    ("a service that did not start leaves no log and no failed unit", || {
        let machine = Machine::of_root();
        let before = machine.files();
        machine.write("/run/refuse", "restart");
        machine.fails(&["--restart"]);
        assert!(!machine.is_failed());
        assert_eq!(machine.files(), before);
        // A log that was there before is not removed.
        machine.write("/var/log/m8refsvr/agent.log", "before\n");
        machine.fails(&["--restart"]);
        assert_eq!(machine.read("/var/log/m8refsvr/agent.log"), "before\n");
    }),
];
