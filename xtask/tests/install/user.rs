//! Installations by an ordinary user: a service of that user, or a line in the crontab.

use std::fs;

use crate::{
    case::Case,
    machine::{Machine, SOURCE},
};

/// A value that a shell would change if it were not in single quotes.
const SECRET: &str = "a=$b`c`\\d;e \"f\"";
/// The unit, below the home.
const UNIT: &str = "/.config/systemd/user/m8refsvr-agent.service";
const OTHER: &str = "0 4 * * * /usr/bin/true\n";

/// A machine without a systemd for users, on which the user has a crontab.
fn with_crontab() -> Machine {
    let machine = Machine::of_user();
    machine.write("/run/no-user-manager", "1");
    machine.write("/run/crontab", OTHER);
    machine
}

/// Makes the stand-in for the agent run for an hour.
fn settings(machine: &Machine) {
    let path = &format!("{SOURCE}/agent.env");
    let settings = machine.read(path) + &format!("M8REFSVR_ARGS='3600'\nSECRET='{SECRET}'\n");
    machine.write(path, &settings);
}

pub(crate) const CASES: &[Case] = &[
    ("a user gets a service of its own, and is told how to give it rights", || {
        let machine = Machine::of_user();
        let folder = machine.home() + "/instana-plugins/custom_sensors/microstrategy_m8refsvr";
        let units = machine.home() + "/.config/systemd/user";
        let printed = machine.installs(&["--restart"]);
        assert!(printed.contains("sudo loginctl enable-linger user"), "{printed}");
        let setcap = "sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep";
        assert!(printed.contains(&format!("{setcap} {folder}/m8refsvr-agent")), "{printed}");
        let unit = machine.read(&format!("{units}/m8refsvr-agent.service"));
        assert!(unit.contains(&format!("\nExecStart={folder}/m8refsvr-agent $M8REFSVR_ARGS\n")), "{unit}");
        assert!(unit.contains(&format!("\nEnvironmentFile=-{folder}/agent.env\n")), "{unit}");
        assert!(machine.at(units + "/default.target.wants/m8refsvr-agent.service").is_symlink());
        assert_eq!(machine.systemctl_calls(), ["daemon-reload", "reenable", "restart"]);
    }),
    ("nothing is left of a user's service after it was removed", || {
        let machine = Machine::of_user();
        let before = machine.files();
        machine.installs(&["--restart"]);
        machine.installs(&["--uninstall"]);
        assert!(!machine.is_active());
        assert_eq!(machine.files(), before);
    }),
    ("nothing is left of a user's, either, when its folder is gone", || {
        for machine in [Machine::of_user(), with_crontab()] {
            let before = (machine.files(), fs::read(machine.at("/run/crontab")).ok());
            machine.installs(&[]);
            fs::remove_dir_all(machine.at(machine.home() + "/instana-plugins")).unwrap();
            machine.installs(&["--uninstall"]);
            assert_eq!((machine.files(), fs::read(machine.at("/run/crontab")).ok()), before);
        }
    }),
    ("a user's installation that fails leaves nothing", || {
        for step in ["daemon-reload", "reenable", "restart"] {
            let machine = Machine::of_user();
            let before = machine.files();
            machine.write("/run/refuse", step);
            machine.fails(&["--restart"]);
            assert_eq!(machine.files(), before, "{step}");
        }
    }),
    ("without a systemd for users a line in the crontab starts it", || {
        let machine = with_crontab();
        settings(&machine);
        let before = machine.files();
        machine.installs(&[]);
        machine.installs(&[]);
        let table = machine.read("/run/crontab");
        let lines: Vec<&str> = table.lines().collect();
        let [other, line] = lines.as_slice() else { panic!("{table}") };
        assert_eq!(*other, OTHER.trim_end());
        assert!(machine.agents().is_empty());
        // As cron does at boot.
        let command = format!("{} &", line.strip_prefix("@reboot ").unwrap().split(" #").next().unwrap());
        assert!(machine.sh(&command).status.success());
        let [agent] = machine.started()[..] else { panic!("several agents") };
        let environment = fs::read(format!("/proc/{}/environ", agent.as_raw_nonzero())).unwrap();
        let variable = format!("SECRET={SECRET}");
        assert!(environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes()));
        machine.installs(&["--uninstall"]);
        assert!(machine.agents().is_empty());
        assert_eq!(machine.read("/run/crontab"), OTHER);
        assert_eq!(machine.files(), before);
    }),
    ("from the crontab, too, an upgrade runs the new code", || {
        let machine = with_crontab();
        settings(&machine);
        machine.installs(&["--restart"]);
        let first = machine.agents();
        assert_eq!(first.len(), 1);
        machine.make_new_version();
        let printed = machine.installs(&[]);
        assert!(printed.contains("still the one from before"), "{printed}");
        assert_eq!(machine.agents(), first);
        machine.installs(&["--restart"]);
        let second = machine.agents();
        assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    }),
    ("an agent that does not start is not left in the crontab", || {
        let machine = with_crontab();
        let before = machine.files();
        let printed = machine.fails(&["--restart"]);
        assert!(printed.contains("missing operand"), "what the agent printed is to be seen: {printed}");
        assert_eq!(machine.read("/run/crontab"), OTHER);
        assert_eq!(machine.files(), before);
    }),
    ("an upgrade keeps the line in the crontab where there is a systemd by now", || {
        let machine = with_crontab();
        settings(&machine);
        machine.installs(&[]);
        let table = machine.read("/run/crontab");
        fs::remove_file(machine.at("/run/no-user-manager")).unwrap();
        machine.make_new_version();
        let before = machine.files();
        machine.installs(&[]);
        assert_ne!(machine.files(), before, "it is an upgrade");
        assert_eq!(machine.read("/run/crontab"), table);
        assert!(!machine.at(machine.home() + "/.config/systemd").exists());
    }),
    ("an upgrade keeps the service where systemd can't be talked to", || {
        let machine = Machine::of_user();
        machine.installs(&[]);
        machine.write("/run/no-user-manager", "1");
        machine.write("/run/crontab", OTHER);
        machine.make_new_version();
        machine.systemctl_calls();
        machine.installs(&["--restart"]);
        assert_eq!(machine.read("/run/crontab"), OTHER);
        assert!(machine.agents().is_empty());
        assert!(machine.read(&(machine.home() + UNIT)).ends_with("# later\n"));
        assert_eq!(machine.systemctl_calls(), [""; 0]);
    }),
    ("nothing is left of a service that is removed where systemd can't be talked to", || {
        let machine = Machine::of_user();
        let before = machine.files();
        machine.installs(&[]);
        machine.write("/run/no-user-manager", "1");
        machine.installs(&["--uninstall"]);
        assert_eq!(machine.files(), before);
    }),
    ("from the crontab, no argument is taken for names of files", || {
        let machine = with_crontab();
        let path = &format!("{SOURCE}/agent.env");
        machine.write(path, &(machine.read(path) + "M8REFSVR_ARGS='LICENS*'\n"));
        let printed = machine.fails(&["--restart"]);
        assert!(printed.contains("'LICENS*'"), "{printed}");
    }),
    ("the examples of settings mean the same to a shell and to systemd", || {
        let machine = Machine::of_user();
        let settings = machine.read(&format!("{SOURCE}/agent.env"));
        let examples: Vec<&str> = settings
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()) && line.contains('='))
            .collect();
        assert!(examples.len() > 20, "{examples:?}");
        for example in examples {
            let (name, value) = example.split_once('=').unwrap();
            let printed = machine.sh(&format!("{example}; printf %s \"${name}\""));
            let meant = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
            assert_eq!(String::from_utf8_lossy(&printed.stdout), meant, "{example}");
        }
        assert!(!settings.contains('"'), "systemd and a shell take what is in double quotes differently");
    }),
];
