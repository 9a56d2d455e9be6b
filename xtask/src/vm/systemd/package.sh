#!/bin/bash
# The Debian package: installed, upgraded, killed, stopped, booted again, misconfigured, without BPF, removed, purged.
set -u
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /test/lib.sh

env_file=/etc/m8refsvr/agent.env

# set_env LINE...: adds these settings to those of the package, in place of the lines added before.
set_env() {
    sed -i '/^# Ours:/,$d' "$env_file"
    printf '%s\n' '# Ours:' "$@" >>"$env_file"
}

# drop_in LINE...: writes a drop-in with these lines, as `systemctl edit` does.
drop_in() {
    mkdir -p /etc/systemd/system/m8refsvr-agent.service.d
    printf '%s\n' '[Service]' "$@" >/etc/systemd/system/m8refsvr-agent.service.d/override.conf
    systemctl daemon-reload
}

exposure() {
    local output
    output=$(systemd-analyze --no-pager security m8refsvr-agent | grep 'Overall exposure level')
    echo "$output"
    awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9.]+$/) exit !($i <= 2.0) }' <<<"$output"
}

install() {
    check "an older version's package is installed" dpkg --install /test/older.deb
    check "the service is enabled after the installation" is enabled systemctl is-enabled m8refsvr-agent
    check "the service is ready after the installation" eventually is active property ActiveState
    check "ready is said by the process itself" is notify property Type
    check "that no process matches is a warning to the journal" eventually logs "No processes found" --priority=warning
    check "what is in force is no warning to the journal" not logs "every 60 s" --priority=warning
    check "what is in force is in the journal" logs "every 60 s" --priority=info
    start_load
    set_env COLLECTION_INTERVAL=2
}

upgrade() {
    local before
    before=$(pid)
    cp "$env_file" "$state/agent.env"
    check "an upgrade is installed, without a question" dpkg --install /test/newer.deb
    check "an upgrade restarts the service" eventually restarted "$before"
    check "an upgrade runs the new code" runs_installed "$binary"
    check "an upgrade keeps edited settings" cmp "$env_file" "$state/agent.env"
    check "an upgrade's settings are in force" eventually logs "every 2 s"
    check "the package's own scripts are not watched" not journal_has "m8refsvr-agent. "
}

run() {
    check "the programs are attached" eventually counts_in_kernel
    check "what the kernel counted for a process arrives at a receiver" eventually metrics_arrive
    check "no warning is in the journal when all is well" is "" service_log --priority=warning
    check "the service has a status text" not is "" property StatusText
    check "the service's user is made for it" is yes property DynamicUser
    check "the service is not root" not is 0 status Uid
    check "the service has the capabilities that it needs, and no others" \
        is "$(capabilities sys_ptrace dac_read_search)" status CapEff
    check "no others can be had" is "$(capabilities bpf perfmon sys_ptrace dac_read_search)" status CapBnd
    check "no others can be got by executing programs" is 1 status NoNewPrivs
    check "systemd calls it secure" exposure
    check "root sees the process in the kernel's maps" eventually dump_shows_load
}

kill_service() {
    local before programs_before
    before=$(pid)
    programs_before=$(programs)
    pins >"$state/pins"
    systemctl kill --signal=KILL m8refsvr-agent
    check "a killed service is started again" eventually restarted "$before"
    check "a killed service leaves no program in the kernel" eventually is "$programs_before" programs
    check "a killed service leaves nothing pinned" only_pins_of "$(pid)"
    clear_received
    check "figures arrive again from a service that was killed" eventually metrics_arrive
}

# only_pins_of PID: whether the BPF file system has nothing but the pins of this agent.
only_pins_of() {
    local pinned
    pinned=$(find /sys/fs/bpf -mindepth 2 -maxdepth 2 -type d)
    echo "$pinned"
    [[ $(wc -l <<<"$pinned") == 1 && ${pinned##*/} == "$1"-* ]]
}

watchdog() {
    local before
    # Long enough for a slow host.
    drop_in WatchdogSec=15s
    systemctl restart m8refsvr-agent
    before=$(pid)
    systemctl kill --signal=STOP m8refsvr-agent
    check "a stopped service is started again" eventually restarted "$before"
    check "it was the watchdog that started it again" \
        eventually journal_has "m8refsvr-agent.service: Watchdog timeout"
    drop_in
}

journal_has() {
    journalctl --quiet --boot --output=cat | grep -F -- "$1"
}

boot() {
    check "the service is ready after a reboot" eventually is active property ActiveState
    check "the programs are attached after a reboot" eventually counts_in_kernel
    start_receiver
    start_load
    check "figures arrive after a reboot" eventually metrics_arrive
}

misconfigure() {
    set_env COLLECTION_INTERVAL=often
    check "a wrong setting keeps the service from starting" not systemctl restart m8refsvr-agent
    check "a service with a wrong setting is not started again and again" is failed property ActiveState
    check "a wrong setting is an exit code of its own" is 2 property ExecMainStatus
    check "a wrong setting is named in the journal" logs "COLLECTION_INTERVAL=often: " --priority=err
    set_env COLLECTION_INTERVAL=2
    check "the right setting is enough to start again" systemctl restart m8refsvr-agent
}

without_bpf() {
    drop_in CapabilityBoundingSet= 'CapabilityBoundingSet=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH' \
        AmbientCapabilities= 'AmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH'
    systemctl restart m8refsvr-agent
    check "the service runs without rights to BPF" eventually is active property ActiveState
    check "without rights to BPF it reads /proc alone" logs "lifecycle from procfs"
    check "without rights to BPF a warning says which are missing" logs CAP_BPF --priority=warning
    drop_in
    echo confidentiality >/sys/kernel/security/lockdown
    systemctl restart m8refsvr-agent
    check "the service runs where the kernel is locked down" eventually is active property ActiveState
    check "where the kernel is locked down a warning says so" logs lockdown --priority=warning
    clear_received
    check "figures of /proc arrive where the kernel is locked down" eventually arrives process.memory.usage
}

remove() {
    rm -r /etc/systemd/system/m8refsvr-agent.service.d
    check "the package is removed" dpkg --remove m8refsvr-agent
    check "a removed service is stopped" is inactive property ActiveState
    check "a removed service leaves no process" not pgrep -f "$binary"
    check "a removed service leaves no program in the kernel" eventually is 0 programs
    check "a removed package keeps its settings" grep -F COLLECTION_INTERVAL=2 "$env_file"
    check "the package is purged" dpkg --purge m8refsvr-agent
    check "a purged package leaves nothing" listing_is "$state/before"
}

if [[ ! -d $state ]]; then
    mkdir "$state"
    listing >"$state/before"
    start_receiver
    install
    upgrade
    run
    kill_service
    watchdog
    echo "$checks" >"$state/checks"
    systemctl reboot
else
    checks=$(<"$state/checks")
    boot
    misconfigure
    without_bpf
    remove
    finish
fi
