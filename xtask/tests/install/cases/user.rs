//! As an ordinary user: a service of that user, or a line in the crontab.

use std::fs;

use crate::{Case, machine::Machine};

/// The value of a setting which a shell would alter, were it not in single quotes.
const SECRET: &str = "a=$b`c`\\d;e \"f\"";
/// Where the unit is, below the home.
const UNIT: &str = "/.config/systemd/user/m8refsvr-agent.service";
const OTHER: &str = "0 4 * * * /usr/bin/true\n";

pub(crate) const CASES: &[Case] = &[
    ("a user gets a service of its own, and is told how to give it rights", a_user_gets_a_service),
    ("nothing is left of a user's service after it was removed", nothing_is_left_of_a_service),
    ("nothing is left of a user's, either, when its folder is gone", nothing_is_left_without_the_folder),
    ("a user's installation that fails leaves nothing", a_failed_installation_leaves_nothing),
    ("without a systemd for users a line in the crontab starts it", a_line_in_the_crontab_starts_it),
    ("from the crontab, too, an upgrade runs the new code", a_crontab_upgrade_runs_the_new_code),
    ("an agent that does not start is not left in the crontab", a_failed_start_leaves_the_crontab),
    ("an upgrade keeps the line in the crontab where there is a systemd by now", an_upgrade_keeps_the_line),
    ("an upgrade keeps the service where systemd can't be talked to", an_upgrade_keeps_the_service),
    (
        "nothing is left of a service that is removed where systemd can't be talked to",
        nothing_is_left_offline,
    ),
    ("from the crontab, no argument is taken for names of files", arguments_are_no_file_names),
    ("the examples of settings mean the same to a shell and to systemd", examples_are_in_single_quotes),
];

/// A machine on which users have no systemd, and this one a crontab.
fn with_crontab() -> Machine {
    let machine = Machine::of_user();
    machine.write("/run/no-user-manager", "1");
    machine.write("/run/crontab", OTHER);
    machine
}

/// Has the stand-in for the agent run for an hour, so that it can be started.
fn settings(machine: &Machine) {
    let path = "/srv/m8refsvr-agent/agent.env";
    let settings = machine.read(path) + &format!("M8REFSVR_ARGS='3600'\nSECRET='{SECRET}'\n");
    machine.write(path, &settings);
}

fn a_user_gets_a_service() {
    let machine = Machine::of_user();
    let folder = machine.home() + "/instana-plugins/custom_sensors/microstrategy_m8refsvr";
    let units = machine.home() + "/.config/systemd/user";
    let said = machine.installs(&["--restart"]);
    assert!(said.contains("sudo loginctl enable-linger user"), "{said}");
    let setcap = "sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep";
    assert!(said.contains(&format!("{setcap} {folder}/m8refsvr-agent")), "{said}");
    let unit = machine.read(&format!("{units}/m8refsvr-agent.service"));
    assert!(unit.contains(&format!("\nExecStart={folder}/m8refsvr-agent $M8REFSVR_ARGS\n")), "{unit}");
    assert!(unit.contains(&format!("\nEnvironmentFile=-{folder}/agent.env\n")), "{unit}");
    assert!(machine.at(units + "/default.target.wants/m8refsvr-agent.service").is_symlink());
    assert_eq!(machine.did(), ["daemon-reload", "reenable", "restart"]);
}

fn nothing_is_left_of_a_service() {
    let machine = Machine::of_user();
    let before = machine.files();
    machine.installs(&["--restart"]);
    machine.installs(&["--uninstall"]);
    assert!(!machine.is_active());
    assert_eq!(machine.files(), before);
}

fn nothing_is_left_without_the_folder() {
    for machine in [Machine::of_user(), with_crontab()] {
        let before = (machine.files(), fs::read(machine.at("/run/crontab")).ok());
        machine.installs(&[]);
        fs::remove_dir_all(machine.at(machine.home() + "/instana-plugins")).unwrap();
        machine.installs(&["--uninstall"]);
        assert_eq!((machine.files(), fs::read(machine.at("/run/crontab")).ok()), before);
    }
}

fn a_failed_installation_leaves_nothing() {
    for step in ["daemon-reload", "reenable", "restart"] {
        let machine = Machine::of_user();
        let before = machine.files();
        machine.write("/run/refuse", step);
        machine.fails(&["--restart"]);
        assert_eq!(machine.files(), before, "{step}");
    }
}

fn a_line_in_the_crontab_starts_it() {
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
}

fn a_crontab_upgrade_runs_the_new_code() {
    let machine = with_crontab();
    settings(&machine);
    machine.installs(&["--restart"]);
    let first = machine.agents();
    assert_eq!(first.len(), 1);
    machine.release();
    let said = machine.installs(&[]);
    assert!(said.contains("still the one from before"), "{said}");
    assert_eq!(machine.agents(), first);
    machine.installs(&["--restart"]);
    let second = machine.agents();
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
}

fn a_failed_start_leaves_the_crontab() {
    let machine = with_crontab();
    let before = machine.files();
    let said = machine.fails(&["--restart"]);
    assert!(said.contains("missing operand"), "what the agent said is to be seen: {said}");
    assert_eq!(machine.read("/run/crontab"), OTHER);
    assert_eq!(machine.files(), before);
}

fn an_upgrade_keeps_the_line() {
    let machine = with_crontab();
    settings(&machine);
    machine.installs(&[]);
    let table = machine.read("/run/crontab");
    fs::remove_file(machine.at("/run/no-user-manager")).unwrap();
    machine.release();
    let before = machine.files();
    machine.installs(&[]);
    assert_ne!(machine.files(), before, "it is an upgrade");
    assert_eq!(machine.read("/run/crontab"), table);
    assert!(!machine.at(machine.home() + "/.config/systemd").exists());
}

fn an_upgrade_keeps_the_service() {
    let machine = Machine::of_user();
    machine.installs(&[]);
    machine.write("/run/no-user-manager", "1");
    machine.write("/run/crontab", OTHER);
    machine.release();
    machine.did();
    machine.installs(&["--restart"]);
    assert_eq!(machine.read("/run/crontab"), OTHER);
    assert!(machine.agents().is_empty());
    assert!(machine.read(&(machine.home() + UNIT)).ends_with("# later\n"));
    assert_eq!(machine.did(), [""; 0]);
}

fn nothing_is_left_offline() {
    let machine = Machine::of_user();
    let before = machine.files();
    machine.installs(&[]);
    machine.write("/run/no-user-manager", "1");
    machine.installs(&["--uninstall"]);
    assert_eq!(machine.files(), before);
}

fn arguments_are_no_file_names() {
    let machine = with_crontab();
    let path = "/srv/m8refsvr-agent/agent.env";
    machine.write(path, &(machine.read(path) + "M8REFSVR_ARGS='LICENS*'\n"));
    let said = machine.fails(&["--restart"]);
    assert!(said.contains("'LICENS*'"), "{said}");
}

fn examples_are_in_single_quotes() {
    let machine = Machine::of_user();
    let settings = machine.read("/srv/m8refsvr-agent/agent.env");
    let examples: Vec<&str> = settings
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()) && line.contains('='))
        .collect();
    assert!(examples.len() > 20, "{examples:?}");
    for example in examples {
        let (name, value) = example.split_once('=').unwrap();
        let told = machine.sh(&format!("{example}; printf %s \"${name}\""));
        let meant = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
        assert_eq!(String::from_utf8_lossy(&told.stdout), meant, "{example}");
    }
    assert!(!settings.contains('"'), "systemd and a shell take what is in double quotes differently");
}
