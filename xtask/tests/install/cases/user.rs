//! As an ordinary user: a service of that user, or a line in the crontab.

use crate::{Case, machine::Machine};

const OTHER: &str = "0 4 * * * /usr/bin/true\n";

pub(crate) const CASES: &[Case] = &[
    ("a user gets a service of its own, and is told how to give it rights", a_user_gets_a_service),
    ("nothing is left of a user's service after it was removed", nothing_is_left_of_a_service),
    ("a user's installation that fails leaves nothing", a_failed_installation_leaves_nothing),
    ("without a systemd for users a line in the crontab starts it", a_line_in_the_crontab_starts_it),
    ("from the crontab, too, an upgrade runs the new code", a_crontab_upgrade_runs_the_new_code),
    ("an agent that does not start is not left in the crontab", a_failed_start_leaves_the_crontab),
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
    machine.write(path, &(machine.read(path) + "M8REFSVR_ARGS=\"3600\"\n"));
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
    assert_eq!(machine.did(), ["daemon-reload", "enable", "restart"]);
}

fn nothing_is_left_of_a_service() {
    let machine = Machine::of_user();
    let before = machine.files();
    machine.installs(&["--restart"]);
    machine.installs(&["--uninstall"]);
    assert!(!machine.is_active());
    assert_eq!(machine.files(), before);
}

fn a_failed_installation_leaves_nothing() {
    for step in ["daemon-reload", "enable", "restart"] {
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
    assert!(machine.run("/bin/sh", &["-c", &command]).status.success());
    assert_eq!(machine.started().len(), 1);
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
