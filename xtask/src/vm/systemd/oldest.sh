#!/bin/bash
# The package under systemd 247 and Linux 5.10: with the package's unit, and with a unit that has unknown capabilities in
# place of CAP_BPF, without and with the drop-in cap-sys-admin.conf.
set -u
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /test/lib.sh

unit=m8refsvr-agent.service

has_its_capabilities() {
    is "$(capabilities bpf perfmon sys_ptrace dac_read_search)" status CapBnd
}

# Replaces CAP_BPF and CAP_PERFMON in the unit by unknown names, as they are unknown to an older systemd.
with_unknown_names() {
    sed 's/=CAP_BPF CAP_PERFMON /=CAP_OF_LATER_1 CAP_OF_LATER_2 /' "/usr/lib/systemd/system/$unit" \
        >"/etc/systemd/system/$unit"
    is 2 grep -c '=CAP_OF_LATER_1' "/etc/systemd/system/$unit" || return 1
    systemctl daemon-reload
    systemctl restart m8refsvr-agent
}

with_drop_in() {
    mkdir "/etc/systemd/system/$unit.d"
    cp /usr/share/doc/m8refsvr-agent/packaging/cap-sys-admin.conf "/etc/systemd/system/$unit.d/"
    systemctl daemon-reload
    systemctl restart m8refsvr-agent
}

mkdir "$state"
check "this is systemd 247" is "systemd 247" sh -c 'systemctl --version | sed -n "s/^\(systemd [0-9]*\).*/\1/p"'
check "the package is installed by an old dpkg" dpkg --install /test/newer.deb
check "the service is ready under an old systemd" eventually is active property ActiveState
check "the programs are attached under an old systemd" eventually counts_in_kernel
check "an old systemd gives the capabilities that are needed, and no others" has_its_capabilities
start_load
check "root sees the process in the kernel's maps under an old systemd" eventually dump_shows_load
check "the service starts where systemd does not know CAP_BPF" with_unknown_names
check "it reads /proc alone where systemd does not know CAP_BPF" eventually logs "lifecycle from procfs"
check "its warning names the drop-in" logs cap-sys-admin.conf --priority=warning
check "the service starts with the drop-in" with_drop_in
check "the programs are attached with the drop-in" eventually counts_in_kernel
check "the drop-in adds one capability" is "$(capabilities sys_admin sys_ptrace dac_read_search)" status CapBnd
rm -r "/etc/systemd/system/$unit" "/etc/systemd/system/$unit.d"
systemctl daemon-reload
check "the package is removed by an old dpkg" dpkg --purge m8refsvr-agent
check "a removed package leaves no program in an old kernel" eventually is 0 programs
finish
