# shellcheck shell=bash
# What the test scripts share. They run in the virtual machine, as a service. Their output goes to the journal, and from
# there to the console, which the host reads.

# The script's own files; they outlast a reboot.
state=/var/test
binary=/usr/bin/m8refsvr-agent
checks=0

# check SENTENCE COMMAND...: reports the sentence as true if the command succeeds.
check() {
    local sentence=$1 output
    shift
    checks=$((checks + 1))
    if output=$("$@" 2>&1); then
        echo "ok: $sentence"
    else
        echo "not ok: $sentence (${output//$'\n'/; })"
    fi
}

# eventually COMMAND...: waits until the command succeeds. The bound is for the slowest hosts; only a failure reaches it.
eventually() {
    local bound=120 output
    local until=$((SECONDS + bound))
    until output=$("$@" 2>&1); do
        if ((SECONDS >= until)); then
            echo "not within $bound s: $*: $output"
            return 1
        fi
        sleep 0.3
    done
}

# not COMMAND...: succeeds if the command fails.
not() {
    ! "$@"
}

# is EXPECTED COMMAND...: succeeds if this is the whole output of the command.
is() {
    local expected=$1 output
    shift
    output=$("$@")
    if [[ $output != "$expected" ]]; then
        echo "$* is '$output', not '$expected'"
        return 1
    fi
}

# systemctl for the manager of the service; script.sh redefines it for the manager of a user.
manager() {
    systemctl "$@"
}

property() {
    manager show --property="$1" --value m8refsvr-agent
}

pid() {
    property MainPID
}

# restarted PID: whether the service is ready with another process than this one.
restarted() {
    is active property ActiveState && [[ $(pid) != 0 ]] && not is "$1" pid
}

# service_log OPTION...: the journal of the service's current or last process, with options of journalctl.
service_log() {
    journalctl --quiet --boot --output=cat "$@" "_PID=$(property ExecMainPID)"
}

# logs TEXT [OPTION...]: whether that journal has this text.
logs() {
    local text=$1
    shift
    service_log "$@" | grep -F -- "$text"
}

counts_in_kernel() {
    logs "context switches from raw_tracepoint, block I/O from raw_tracepoint, lifecycle from raw_tracepoint"
}

# runs_installed FILE: whether the service's process executes this file, and not one that it replaced.
runs_installed() {
    [[ /proc/$(pid)/exe -ef $1 ]]
}

# status FIELD: from /proc/PID/status of the service's process.
status() {
    awk -v field="$1:" '$1 == field { print $2 }' "/proc/$(pid)/status"
}

# capabilities NAME...: the mask of these capabilities, as in /proc/PID/status.
capabilities() {
    local -A numbers=([dac_read_search]=2 [sys_ptrace]=19 [sys_admin]=21 [perfmon]=38 [bpf]=39)
    local mask=0 name
    for name; do
        mask=$((mask | 1 << numbers[$name]))
    done
    printf '%016x' "$mask"
}

# The number of the agent's BPF programs in the kernel; those of systemd have other types.
programs() {
    bpftool prog show | grep -c -E ' (raw_)?tracepoint '
}

pins() {
    find /sys/fs/bpf -mindepth 1 -name '*m8refsvr*'
}

# Starts a receiver at the agent's default endpoint.
start_receiver() {
    systemd-run --quiet --unit=receiver --property=StandardOutput=append:/run/received /test/rotel-agent start \
        --exporter blackhole --disable-batching --debug-log metrics --debug-log-verbosity detailed \
        --otlp-grpc-endpoint 127.0.0.1:4317 --otlp-http-endpoint 127.0.0.1:4318
    check "the receiver listens" eventually receiver_listens
}

receiver_listens() {
    : </dev/tcp/127.0.0.1/4317
}

# Starts a process named M8RefSvr_x that writes to the disk each second.
start_load() {
    cp /bin/dd "$state/M8RefSvr_x"
    local load="$state/M8RefSvr_x bs=4096 iflag=fullblock oflag=direct of=$state/written status=none"
    systemd-run --quiet --unit=load /bin/sh -c \
        "while sleep 1; do head -c 4096 /dev/zero; done | exec $load"
}

clear_received() {
    : >/run/received
}

# arrives METRIC [ATTRIBUTE VALUE]: whether the receiver has a data point above 0 with this attribute.
arrives() {
    awk -v metric="$1" -v attribute="${2:+-> $2: Str($3)}" '
        /^ +-> Name: / { name = $3 }
        /^NumberDataPoints / { here = attribute == "" }
        attribute != "" && index($0, attribute) { here = 1 }
        /^Value: / && name == metric && here && $2 > 0 { found = 1 }
        END { exit !found }' /run/received
}

# Only the BPF programs count this metric.
metrics_arrive() {
    arrives m8refsvr.block.io disk.io.direction write
}

dump_shows_load() {
    "$binary" debug dump | grep -E "^agent +$(pid) \(running\)|^ +$(pgrep -x M8RefSvr_x) M8RefSvr_x +[0-9]+ +sum " | is 2 wc -l
}

# Lists all files of the machine, without those that change by themselves.
listing() {
    find / -xdev \( -path "$state" -o -path /var/log/journal -o -path /var/lib/systemd/random-seed \
        -o -name 'systemd-private-*' \) -prune -o -printf '%p %y %m %u:%g\n' | sort
    find /run /tmp /var/tmp /sys/fs/bpf -name '*m8refsvr*'
}

# listing_is FILE: whether the machine has the same files as in this listing.
listing_is() {
    listing | diff "$1" -
}

# finish: prints the last line of a script.
finish() {
    echo "checks: $checks"
}
