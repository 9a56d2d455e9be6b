//! As root: a service of the system.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

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
    ("a package that came later keeps the settings", a_later_package_takes_the_settings),
    ("a service that was disabled is not enabled for the package", a_package_stays_disabled),
    ("a folder that the service can't see is refused", a_hidden_folder_is_refused),
    ("neither no folder nor the root folder means the default one", no_folder_is_refused),
    ("a folder behind a link is where the link leads to", a_hidden_folder_behind_a_link_is_refused),
    ("where a link leads to is found without readlink", a_hidden_folder_is_found_without_readlink),
    ("a folder that is gone after the next boot is refused", a_folder_in_memory_is_refused),
    ("what stands where a file is to go is neither replaced nor removed", foreign_files_stay),
    ("settings that were there first are kept until it is removed", earlier_settings_are_kept),
    ("a unit that an administrator made is neither replaced nor removed", a_foreign_unit_stays),
    ("a unit whose file is gone is stopped, disabled and forgotten", a_unit_without_its_file_is_removed),
    ("nothing is left, either, when the program's folder is gone", nothing_is_left_without_the_folder),
    ("a folder that is gone is made again by an upgrade", an_upgrade_makes_the_folder_again),
    ("a unit that was edited is still the script's", an_edited_unit_is_removed),
    ("modes of files that did not change are set right", modes_are_set_right),
    ("what was disabled stays so in an upgrade", an_upgrade_enables_nothing),
    ("a service that did not start leaves no log and no failed unit", a_failed_start_leaves_no_trace),
    ("a package's service is enabled again when an installation beside it fails", a_package_stays_enabled),
    ("a program that does not run where it was installed is not left there", the_installed_program_is_tried),
    ("a CDPATH leads nowhere else", a_cdpath_is_not_followed),
    ("there is a man page, unless nobody can write to /usr/local", there_is_a_man_page),
    ("help and wrong usage", help_and_wrong_usage),
];

fn mode(machine: &Machine, path: &str) -> u32 {
    fs::metadata(machine.at(path)).unwrap().mode() & 0o7777
}

/// The unit that starts at boot.
fn enabled(machine: &Machine) -> Option<PathBuf> {
    let link = machine.at("/etc/systemd/system/multi-user.target.wants/m8refsvr-agent.service");
    fs::read_link(link).ok()
}

fn is_enabled(machine: &Machine) -> bool {
    enabled(machine).is_some_and(|target| target == Path::new(UNIT))
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
    assert_eq!(machine.did(), ["daemon-reload", "reenable"]);
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
    for step in ["daemon-reload", "reenable", "restart"] {
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
    for step in ["daemon-reload", "restart"] {
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
    machine.write("/run/interrupt", "reenable");
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
    let output = machine.run(&format!("{FOLDER}/install-m8refsvr-agent.sh"), &["-u"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
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
    assert_eq!(machine.did(), ["reenable"]);
    machine.installs(&["--uninstall"]);
    assert!(!machine.at(UNIT).exists() && !is_enabled(&machine));
}

/// Installs the package, as far as the script looks at it.
fn install_package(machine: &Machine) {
    // /usr is this machine's own; older systems have a /lib beside it.
    fs::remove_file(machine.at("/lib")).unwrap();
    fs::create_dir(machine.at("/lib")).unwrap();
    for entry in fs::read_dir("/usr/lib").unwrap() {
        let name = entry.unwrap().file_name();
        if name != "systemd" {
            symlink(Path::new("/usr/lib").join(&name), machine.at("/lib").join(&name)).unwrap();
        }
    }
    machine.write(
        "/lib/systemd/system/m8refsvr-agent.service",
        &machine.read("/srv/m8refsvr-agent/m8refsvr-agent.service"),
    );
    assert!(machine.sh("systemctl enable --quiet m8refsvr-agent").status.success());
}

fn a_package_keeps_its_settings() {
    let machine = Machine::of_root();
    install_package(&machine);
    machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
    let drop_in = "/etc/systemd/system/m8refsvr-agent.service.d/override.conf";
    machine.write(drop_in, "[Service]\nMemoryMax=1G\n");
    let said = machine.installs(&[]);
    assert!(said.contains("package m8refsvr-agent is installed too"), "{said}");
    let said = machine.installs(&["--uninstall"]);
    assert!(said.contains("package m8refsvr-agent is still installed"), "{said}");
    assert_eq!(machine.read(SETTINGS), "PROCESS_NAME=nginx\n");
    assert!(!machine.at(UNIT).exists());
    assert!(machine.at(drop_in).exists());
    assert_eq!(enabled(&machine).unwrap(), Path::new("/lib/systemd/system/m8refsvr-agent.service"));
}

fn a_later_package_takes_the_settings() {
    let machine = Machine::of_root();
    machine.installs(&[]);
    install_package(&machine);
    machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
    machine.installs(&["--uninstall"]);
    assert_eq!(machine.read(SETTINGS), "PROCESS_NAME=nginx\n");
}

fn a_package_stays_disabled() {
    let machine = Machine::of_root();
    install_package(&machine);
    machine.installs(&[]);
    assert!(machine.sh("systemctl disable --quiet m8refsvr-agent").status.success());
    machine.installs(&["--uninstall"]);
    assert_eq!(enabled(&machine), None);
}

fn a_package_stays_enabled() {
    let machine = Machine::of_root();
    install_package(&machine);
    let before = (machine.files(), enabled(&machine));
    machine.write("/run/refuse", "restart");
    machine.fails(&["--restart"]);
    assert_eq!((machine.files(), enabled(&machine)), before);
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

fn no_folder_is_refused() {
    let machine = Machine::of_root();
    let before = machine.files();
    let said = machine.fails(&["-d", ""]) + &machine.fails(&["--directory="]);
    assert_eq!(said.matches("--directory needs a folder").count(), 2, "{said}");
    let said = machine.fails(&["-d", "/"]);
    assert!(said.contains("give a folder of the program's own"), "{said}");
    assert_eq!(machine.files(), before);
}

fn a_hidden_folder_behind_a_link_is_refused() {
    let machine = Machine::of_root();
    fs::create_dir(machine.at("/opt/real")).unwrap();
    symlink("/home", machine.at("/opt/homes")).unwrap();
    symlink("real", machine.at("/opt/link")).unwrap();
    let before = machine.files();
    let said = machine.fails(&["-d", "/opt/homes/user/agent"]);
    assert!(said.contains("the service can't see files there"), "{said}");
    assert_eq!(machine.files(), before);
    machine.installs(&["-d", "/opt/link/agent"]);
    machine.installs(&["--uninstall"]);
    assert_eq!(machine.files(), before);
}

fn a_hidden_folder_is_found_without_readlink() {
    let machine = Machine::of_root();
    symlink("/home", machine.at("/opt/homes")).unwrap();
    symlink("/", machine.at("/opt/all")).unwrap();
    // Busybox's does not know what GNU's does.
    machine.write("/stubs/readlink", "#!/bin/sh\nexit 1\n");
    fs::set_permissions(machine.at("/stubs/readlink"), Permissions::from_mode(0o755)).unwrap();
    for folder in ["/opt/homes/user/agent", "/opt/all/root/agent"] {
        let said = machine.fails(&["-d", folder]);
        assert!(said.contains("the service can't see files there"), "{said}");
    }
}

fn a_folder_in_memory_is_refused() {
    for machine in [Machine::of_root(), Machine::of_user()] {
        symlink("/run", machine.at("/var/run")).unwrap();
        let before = machine.files();
        for folder in ["/run/agent", "/var/run/user/agent", "/dev/shm/agent"] {
            let said = machine.fails(&["--directory", folder]);
            assert!(said.contains("outlasts a boot"), "{said}");
        }
        assert_eq!(machine.files(), before);
    }
}

fn foreign_files_stay() {
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
        let said = machine.fails(&["-d", "/opt/m8"]);
        assert!(said.contains(" is there already"), "{said}");
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
}

fn earlier_settings_are_kept() {
    let default = Machine::of_root().read("/srv/m8refsvr-agent/agent.env");
    for settings in ["PROCESS_NAME=nginx\n", &default] {
        let machine = Machine::of_root();
        let before = machine.files();
        // Of a package that is gone by the time at which the script removes what it has installed.
        machine.write(SETTINGS, settings);
        machine.write("/etc/m8refsvr/agent.env.beside", settings);
        machine.installs(&[]);
        machine.release();
        machine.installs(&[]);
        assert_eq!(machine.read(SETTINGS), settings);
        machine.installs(&["--uninstall"]);
        assert_eq!(machine.files(), before);
    }
}

fn a_foreign_unit_stays() {
    let package = Machine::of_root().read("/srv/m8refsvr-agent/m8refsvr-agent.service");
    let own = package.replace("ExecStart=/usr/bin/", "ExecStart=/opt/own/");
    assert_ne!(own, package);
    for unit in [package, own] {
        let machine = Machine::of_root();
        machine.write(UNIT, &unit);
        let before = machine.files();
        let said = machine.fails(&[]);
        assert!(said.contains("not from this script"), "{said}");
        assert_eq!(machine.files(), before);
        machine.installs(&["--uninstall"]);
        assert_eq!(machine.files(), before);
        // Made after the script had installed.
        fs::remove_file(machine.at(UNIT)).unwrap();
        machine.installs(&[]);
        machine.write(UNIT, &unit);
        machine.fails(&[]);
        machine.installs(&["--uninstall"]);
        assert_eq!(machine.read(UNIT), unit);
        assert!(!machine.at(FOLDER).exists());
    }
}

fn a_unit_without_its_file_is_removed() {
    let machine = Machine::of_root();
    let before = machine.files();
    machine.installs(&["--restart"]);
    fs::remove_file(machine.at(UNIT)).unwrap();
    machine.installs(&["--uninstall"]);
    assert!(!machine.is_active());
    assert_eq!(machine.files(), before);
}

fn nothing_is_left_without_the_folder() {
    let machine = Machine::of_root();
    let before = machine.files();
    machine.installs(&["--restart"]);
    // As the Instana agent's own uninstallation does.
    fs::remove_dir_all(machine.at("/opt/instana")).unwrap();
    machine.installs(&["--uninstall"]);
    assert!(!machine.is_active());
    assert_eq!(machine.files(), before);
}

fn an_upgrade_makes_the_folder_again() {
    let machine = Machine::of_root();
    machine.installs(&[]);
    let before = machine.files();
    fs::remove_dir_all(machine.at("/opt/instana")).unwrap();
    machine.installs(&[]);
    assert_eq!(machine.files(), before);
}

fn an_edited_unit_is_removed() {
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
}

fn modes_are_set_right() {
    let machine = Machine::of_root();
    machine.installs(&[]);
    let before = machine.files();
    for (path, mode) in [(PROGRAM, 0o644), (SETTINGS, 0o644), (UNIT, 0o600)] {
        fs::set_permissions(machine.at(path), Permissions::from_mode(mode)).unwrap();
    }
    machine.installs(&[]);
    assert_eq!(machine.files(), before);
}

fn an_upgrade_enables_nothing() {
    let machine = Machine::of_root();
    machine.installs(&[]);
    assert!(machine.sh("systemctl disable --quiet m8refsvr-agent").status.success());
    machine.release();
    machine.installs(&["--restart"]);
    assert!(!is_enabled(&machine));
}

fn a_failed_start_leaves_no_trace() {
    let machine = Machine::of_root();
    let before = machine.files();
    machine.write("/run/refuse", "restart");
    machine.fails(&["--restart"]);
    assert!(!machine.is_failed());
    assert_eq!(machine.files(), before);
    // A log from before is another's.
    machine.write("/var/log/m8refsvr/agent.log", "before\n");
    machine.fails(&["--restart"]);
    assert_eq!(machine.read("/var/log/m8refsvr/agent.log"), "before\n");
}

fn the_installed_program_is_tried() {
    let machine = Machine::of_root();
    let before = machine.files();
    let output = machine.sh(
        "mount -t tmpfs -o noexec tmpfs /opt && sh /srv/m8refsvr-agent/install-m8refsvr-agent.sh; status=$?
        find /opt -mindepth 1; exit $status",
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("does not run there"), "{said}");
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert_eq!(machine.files(), before);
}

fn a_cdpath_is_not_followed() {
    let machine = Machine::of_root();
    fs::create_dir_all(machine.at("/var/other/m8refsvr-agent")).unwrap();
    let output = machine.sh("cd /srv && CDPATH=/var/other sh m8refsvr-agent/install-m8refsvr-agent.sh");
    assert!(output.status.success(), "{output:?}");
    assert!(machine.at(PROGRAM).exists());
}

fn there_is_a_man_page() {
    let pages = ["m8refsvr-agent.1", "m8refsvr-agent-check.1"];
    let machine = Machine::of_root();
    machine.installs(&[]);
    for page in pages {
        assert_eq!(mode(&machine, &format!("/local/share/man/man1/{page}")), 0o644);
    }
    let machine = Machine::of_root();
    let script = "/srv/m8refsvr-agent/install-m8refsvr-agent.sh";
    let output = machine.sh(&format!("mount -o remount,bind,ro /usr/local && exec {script}"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(machine.at(PROGRAM).exists() && !machine.at("/local/share").exists());
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
