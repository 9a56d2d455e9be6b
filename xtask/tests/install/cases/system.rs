//! As root: a service of the system.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use crate::{Case, machine::Machine};

const FOLDER: &str = "/opt/instana/agent/plugins/custom_sensors/microstrategy_m8refsvr";
const PROGRAM: &str = "/opt/instana/agent/plugins/custom_sensors/microstrategy_m8refsvr/m8refsvr-agent";
const UNIT: &str = "/etc/systemd/system/m8refsvr-agent.service";
const SETTINGS: &str = "/etc/m8refsvr/agent.env";

pub(crate) const CASES: &[Case] = &[
    ("root gets a service that starts at boot", root_gets_a_service),
    ("a second run changes nothing", a_second_run_changes_nothing),
    ("with --restart the service runs, and runs the new code after an upgrade", restart_runs_the_new_code),
    ("an upgrade keeps settings that were edited", an_upgrade_keeps_edited_settings),
    ("an upgrade renews settings that were not edited", an_upgrade_renews_other_settings),
    ("an installation that fails at any step leaves nothing", a_failed_installation_leaves_nothing),
    ("an upgrade that fails at any step leaves what was", a_failed_upgrade_leaves_what_was),
    ("an interrupted installation leaves nothing", an_interrupted_installation_leaves_nothing),
    ("an upgrade finds where it is installed", an_upgrade_finds_where),
    ("nothing is left after it was removed", nothing_is_left),
    ("an image without a running systemd starts it at its first boot", an_image_starts_it_at_boot),
    ("a package beside is named, and keeps its settings", a_package_keeps_its_settings),
    ("a folder that the service can't see is refused", a_hidden_folder_is_refused),
    ("help and wrong usage", help_and_wrong_usage),
];

fn mode(machine: &Machine, path: &str) -> u32 {
    fs::metadata(machine.at(path)).unwrap().mode() & 0o7777
}

fn is_enabled(machine: &Machine) -> bool {
    let link = machine.at("/etc/systemd/system/multi-user.target.wants/m8refsvr-agent.service");
    fs::read_link(link).is_ok_and(|target| target == Path::new(UNIT))
}

fn root_gets_a_service() {
    let machine = Machine::of_root();
    let said = machine.installs(&[]);
    assert!(said.contains("systemctl start m8refsvr-agent"), "{said}");
    assert_eq!(
        (mode(&machine, PROGRAM), mode(&machine, UNIT), mode(&machine, SETTINGS)),
        (0o755, 0o644, 0o600)
    );
    assert!(machine.read(UNIT).contains(&format!("\nExecStart={PROGRAM} ")));
    assert!(is_enabled(&machine));
    assert_eq!(machine.did(), ["daemon-reload", "enable"]);
    assert!(!machine.is_active());
}

fn a_second_run_changes_nothing() {
    let machine = Machine::of_root();
    machine.installs(&[]);
    let inode = || fs::metadata(machine.at(PROGRAM)).unwrap().ino();
    let before = (machine.files(), inode());
    machine.installs(&[]);
    assert_eq!((machine.files(), inode()), before);
}

fn restart_runs_the_new_code() {
    let machine = Machine::of_root();
    machine.installs(&["--restart"]);
    assert!(machine.is_active());
    machine.release();
    machine.did();
    let said = machine.installs(&[]);
    assert!(said.contains("still the one from before"), "{said}");
    assert!(!machine.did().contains(&"restart".into()));
    machine.installs(&["-r"]);
    assert_eq!(machine.did().last().map(String::as_str), Some("restart"));
}

fn an_upgrade_keeps_edited_settings() {
    let machine = Machine::of_root();
    machine.installs(&[]);
    machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
    machine.installs(&[]);
    assert!(
        !machine.at("/etc/m8refsvr/agent.env.new").exists(),
        "the default settings are those from before"
    );
    machine.release();
    let said = machine.installs(&[]);
    assert!(said.contains("kept /etc/m8refsvr/agent.env"), "{said}");
    assert_eq!(machine.read(SETTINGS), "PROCESS_NAME=nginx\n");
    assert!(machine.read("/etc/m8refsvr/agent.env.new").ends_with("# later\n"));
}

fn an_upgrade_renews_other_settings() {
    let machine = Machine::of_root();
    machine.installs(&[]);
    machine.release();
    machine.installs(&[]);
    assert!(machine.read(SETTINGS).ends_with("# later\n"));
    assert!(machine.read(UNIT).ends_with("# later\n"));
    assert!(!machine.at("/etc/m8refsvr/agent.env.new").exists());
}

fn a_failed_installation_leaves_nothing() {
    for step in ["daemon-reload", "enable", "restart"] {
        let machine = Machine::of_root();
        let before = machine.files();
        machine.write("/run/refuse", step);
        let said = machine.fails(&["--restart"]);
        assert!(said.contains("taking back"), "{step}: {said}");
        assert_eq!(machine.files(), before, "{step}");
        assert!(!machine.is_active(), "{step}");
    }
}

fn a_failed_upgrade_leaves_what_was() {
    for step in ["daemon-reload", "enable", "restart"] {
        let machine = Machine::of_root();
        machine.installs(&["--restart"]);
        machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
        machine.release();
        let before = machine.files();
        machine.write("/run/refuse", step);
        machine.did();
        machine.fails(&["--restart"]);
        assert_eq!(machine.files(), before, "{step}");
        assert!(is_enabled(&machine), "{step}");
        let did = machine.did();
        assert_eq!(
            did[did.len() - 2..],
            ["daemon-reload", "restart"],
            "{step}: the old version is to run again"
        );
    }
}

fn an_interrupted_installation_leaves_nothing() {
    let machine = Machine::of_root();
    let before = machine.files();
    machine.write("/run/interrupt", "enable");
    machine.fails(&[]);
    assert_eq!(machine.files(), before);
}

fn an_upgrade_finds_where() {
    let machine = Machine::of_root();
    machine.installs(&["--directory", "/opt/m8/"]);
    machine.release();
    machine.installs(&[]);
    assert!(machine.read(UNIT).contains("\nExecStart=/opt/m8/m8refsvr-agent "));
    assert!(!machine.at(FOLDER).exists());
    let before = machine.files();
    let said = machine.fails(&["-d", FOLDER]);
    assert!(said.contains("installed in /opt/m8 already"), "{said}");
    assert_eq!(machine.files(), before);
}

fn nothing_is_left() {
    let machine = Machine::of_root();
    fs::create_dir_all(machine.at("/opt/instana/agent/plugins")).unwrap();
    let before = machine.files();
    machine.installs(&["--restart"]);
    machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
    machine.release();
    machine.installs(&["--restart"]);
    machine.write("/etc/systemd/system/m8refsvr-agent.service.d/override.conf", "[Service]\nMemoryMax=1G\n");
    machine.write("/var/log/private/m8refsvr/agent.log", "");
    std::os::unix::fs::symlink("private/m8refsvr", machine.at("/var/log/m8refsvr")).unwrap();
    let output = machine.run(&format!("{FOLDER}/install-m8refsvr-agent.sh"), &["-u"]);
    assert!(output.status.success(), "{output:?}");
    assert!(!machine.is_active());
    assert_eq!(machine.files(), before);
    let said = machine.installs(&["--uninstall"]);
    assert!(said.contains("not installed"), "{said}");
}

fn an_image_starts_it_at_boot() {
    let machine = Machine::of_root();
    fs::remove_dir_all(machine.at("/run/systemd")).unwrap();
    machine.installs(&["--restart"]);
    assert!(is_enabled(&machine));
    assert_eq!(machine.did(), ["enable"]);
    machine.installs(&["--uninstall"]);
    assert!(!machine.at(UNIT).exists() && !is_enabled(&machine));
}

fn a_package_keeps_its_settings() {
    let machine = Machine::of_root();
    // /usr is this machine's own; older systems have a /lib beside it.
    fs::remove_file(machine.at("/lib")).unwrap();
    fs::create_dir(machine.at("/lib")).unwrap();
    for entry in fs::read_dir("/usr/lib").unwrap() {
        let name = entry.unwrap().file_name();
        if name != "systemd" {
            std::os::unix::fs::symlink(Path::new("/usr/lib").join(&name), machine.at("/lib").join(&name))
                .unwrap();
        }
    }
    machine.write(
        "/lib/systemd/system/m8refsvr-agent.service",
        &machine.read("/srv/m8refsvr-agent/m8refsvr-agent.service"),
    );
    machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
    let said = machine.installs(&[]);
    assert!(said.contains("package m8refsvr-agent is installed too"), "{said}");
    let said = machine.installs(&["--uninstall"]);
    assert!(said.contains("package m8refsvr-agent is still installed"), "{said}");
    assert_eq!(machine.read(SETTINGS), "PROCESS_NAME=nginx\n");
    assert!(!machine.at(UNIT).exists());
    let link = machine.at("/etc/systemd/system/multi-user.target.wants/m8refsvr-agent.service");
    assert_eq!(fs::read_link(link).unwrap(), Path::new("/lib/systemd/system/m8refsvr-agent.service"));
}

fn a_hidden_folder_is_refused() {
    let machine = Machine::of_root();
    let before = machine.files();
    for folder in ["/home/user/agent", "/tmp/agent", "/root", "/opt/a b", "/opt/../root/agent", "/opt/$HOME"]
    {
        machine.fails(&["--directory", folder]);
        assert_eq!(machine.files(), before, "{folder}");
    }
}

fn help_and_wrong_usage() {
    let machine = Machine::of_root();
    let before = machine.files();
    let help = machine.installs(&["--help"]);
    for word in ["--directory", "--restart", "--uninstall", "--help", FOLDER] {
        assert!(help.contains(word), "{word}");
    }
    assert_eq!(machine.install(&["--frobnicate"]).status.code(), Some(2));
    assert_eq!(machine.install(&["-d"]).status.code(), Some(2));
    assert_eq!(machine.files(), before);
}
