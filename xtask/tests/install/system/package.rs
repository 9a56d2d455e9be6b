//! The script on a machine that also has the Debian package.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::service::{SETTINGS, UNIT, enabled};
use crate::{
    case::Case,
    machine::{Machine, SOURCE},
};

/// Installs those parts of the package that the script examines.
fn install_package(machine: &Machine) {
    // /usr is the host's, so the unit goes into /lib, which older systems have beside it.
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
        &machine.read(&format!("{SOURCE}/m8refsvr-agent.service")),
    );
    assert!(machine.sh("systemctl enable --quiet m8refsvr-agent").status.success());
}

pub(crate) const CASES: &[Case] = &[
    ("a package beside is named, and keeps its settings", || {
        let machine = Machine::of_root();
        install_package(&machine);
        machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
        let drop_in = "/etc/systemd/system/m8refsvr-agent.service.d/override.conf";
        machine.write(drop_in, "[Service]\nMemoryMax=1G\n");
        let printed = machine.installs(&[]);
        assert!(printed.contains("package m8refsvr-agent is installed too"), "{printed}");
        let printed = machine.installs(&["--uninstall"]);
        assert!(printed.contains("package m8refsvr-agent is still installed"), "{printed}");
        assert_eq!(machine.read(SETTINGS), "PROCESS_NAME=nginx\n");
        assert!(!machine.at(UNIT).exists());
        assert!(machine.at(drop_in).exists());
        assert_eq!(enabled(&machine).unwrap(), Path::new("/lib/systemd/system/m8refsvr-agent.service"));
    }),
    ("a package that came later keeps the settings", || {
        let machine = Machine::of_root();
        machine.installs(&[]);
        install_package(&machine);
        machine.write(SETTINGS, "PROCESS_NAME=nginx\n");
        machine.installs(&["--uninstall"]);
        assert_eq!(machine.read(SETTINGS), "PROCESS_NAME=nginx\n");
    }),
    ("a service that was disabled is not enabled for the package", || {
        let machine = Machine::of_root();
        install_package(&machine);
        machine.installs(&[]);
        assert!(machine.sh("systemctl disable --quiet m8refsvr-agent").status.success());
        machine.installs(&["--uninstall"]);
        assert_eq!(enabled(&machine), None);
    }),
    ("a package's service is enabled again when an installation beside it fails", || {
        let machine = Machine::of_root();
        install_package(&machine);
        let before = (machine.files(), enabled(&machine));
        machine.write("/run/refuse", "restart");
        machine.fails(&["--restart"]);
        assert_eq!((machine.files(), enabled(&machine)), before);
    }),
];
