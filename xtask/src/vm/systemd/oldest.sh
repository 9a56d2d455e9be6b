#!/bin/bash
# The oldest systemd and kernel that can be had: the package's unit gives the capabilities that it names by leaving them
# out of its lists.
set -u
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /proof/lib.sh

binary=/usr/bin/m8refsvr-agent
unit=m8refsvr-agent.service

has_its_capabilities() {
    is "$(capabilities bpf perfmon sys_ptrace dac_read_search)" status CapBnd
}

dump_shows_load() {
    "$binary" debug dump | grep -E "^agent +$(pid) \(running\)|^ +$(pgrep -x M8RefSvr_x) +[0-9]+ +sum " | is 2 wc -l
}

# A name that this systemd does not know, as an older one does not know CAP_BPF.
with_unknown_name() {
    sed 's/=~/=~CAP_OF_A_LATER_KERNEL /' "/usr/lib/systemd/system/$unit" >"/etc/systemd/system/$unit"
    systemctl daemon-reload
    systemctl restart m8refsvr-agent
}

mkdir "$state"
check "this is systemd 247" is "systemd 247" sh -c 'systemctl --version | sed -n "s/^\(systemd [0-9]*\).*/\1/p"'
check "the package is installed by an old dpkg" dpkg --install /proof/newer.deb
check "the service is ready under an old systemd" soon is active property ActiveState
check "the programs are attached under an old systemd" soon counts_in_kernel
check "an old systemd gives the capabilities that are needed, and no others" has_its_capabilities
start_load
check "root sees the process in the kernel's maps under an old systemd" soon dump_shows_load
check "the service starts where systemd does not know a capability's name" with_unknown_name
check "the programs are attached where systemd does not know a capability's name" soon counts_in_kernel
check "a name that systemd does not know changes no capability" has_its_capabilities
rm "/etc/systemd/system/$unit"
systemctl daemon-reload
check "the package is removed by an old dpkg" dpkg --purge m8refsvr-agent
check "a removed package leaves no program in an old kernel" soon is 0 programs
proven
