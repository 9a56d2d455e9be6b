# shellcheck shell=bash
# What the proofs share. They run in the machine, as a service; what they say goes to the journal, and from there to
# the console that the host reads.

# What a proof keeps from one boot to the next.
state=/var/proof
checks=0

# check SENTENCE COMMAND...: says whether the sentence is true, which it is when the command succeeds.
check() {
    local sentence=$1 said
    shift
    checks=$((checks + 1))
    if said=$("$@" 2>&1); then
        echo "ok: $sentence"
    else
        echo "not ok: $sentence (${said//$'\n'/; })"
    fi
}

# soon COMMAND...: waits until the command succeeds. Only a failure reaches the bound, which is for the slowest of hosts.
soon() {
    local bound=120 said
    local until=$((SECONDS + bound))
    until said=$("$@" 2>&1); do
        if ((SECONDS >= until)); then
            echo "not within $bound s: $*: $said"
            return 1
        fi
        sleep 0.3
    done
}

# not COMMAND...: succeeds when the command does not; shows what that said.
not() {
    ! "$@"
}

# is EXPECTED COMMAND...: succeeds when the command writes just that.
is() {
    local expected=$1 said
    shift
    said=$("$@")
    if [[ $said != "$expected" ]]; then
        echo "$* is '$said', not '$expected'"
        return 1
    fi
}

# The manager that has the service; a proof about a user's service defines its own.
manager() {
    systemctl "$@"
}

property() {
    manager show --property="$1" --value m8refsvr-agent
}

pid() {
    property MainPID
}

# runs_anew PID: whether the service is ready with another process than that one.
runs_anew() {
    is active property ActiveState && [[ $(pid) != 0 ]] && not is "$1" pid
}

# What the service's process has logged, or the one that ended last, with options of journalctl.
logged() {
    journalctl --quiet --boot --output=cat "$@" "_PID=$(property ExecMainPID)"
}

# says TEXT [OPTION...]: whether that has this text in it.
says() {
    local text=$1
    shift
    logged "$@" | grep -F -- "$text"
}

counts_in_kernel() {
    says "context switches from raw_tracepoint, block I/O from raw_tracepoint, lifecycle from raw_tracepoint"
}

# runs_installed FILE: whether the service's process executes this file as it is now, and not what was there before.
runs_installed() {
    [[ /proc/$(pid)/exe -ef $1 ]]
}

# status FIELD: of the service's process, as the kernel tells it.
status() {
    awk -v field="$1:" '$1 == field { print $2 }' "/proc/$(pid)/status"
}

# capabilities NAME...: as in /proc/PID/status.
capabilities() {
    local -A numbers=([dac_read_search]=2 [sys_ptrace]=19 [sys_admin]=21 [perfmon]=38 [bpf]=39)
    local mask=0 name
    for name; do
        mask=$((mask | 1 << numbers[$name]))
    done
    printf '%016x' "$mask"
}

# How many of our programs the kernel has: systemd's own are of other types.
programs() {
    bpftool prog show | grep -c -E ' (raw_)?tracepoint '
}

pins() {
    find /sys/fs/bpf -mindepth 1 -name '*m8refsvr*'
}

# Starts a receiver where the agent sends to if nobody tells it otherwise.
start_receiver() {
    systemd-run --quiet --unit=receiver --property=StandardOutput=append:/run/received /proof/rotel-agent start \
        --exporter blackhole --disable-batching --debug-log metrics --debug-log-verbosity detailed \
        --otlp-grpc-endpoint 127.0.0.1:4317 --otlp-http-endpoint 127.0.0.1:4318
    check "the receiver listens" soon receiver_listens
}

receiver_listens() {
    : </dev/tcp/127.0.0.1/4317
}

# Starts a process named M8RefSvr_x that waits and writes to the disk again and again.
start_load() {
    cp /bin/dd "$state/M8RefSvr_x"
    local load="$state/M8RefSvr_x bs=4096 iflag=fullblock oflag=direct of=$state/written status=none"
    systemd-run --quiet --unit=load /bin/sh -c \
        "while sleep 1; do head -c 4096 /dev/zero; done | exec $load"
}

forget_received() {
    : >/run/received
}

# arrives METRIC [ATTRIBUTE VALUE]: whether a point above 0, with this attribute, is at the receiver.
arrives() {
    awk -v metric="$1" -v attribute="${2:+-> $2: Str($3)}" '
        /^ +-> Name: / { name = $3 }
        /^NumberDataPoints / { here = attribute == "" }
        attribute != "" && index($0, attribute) { here = 1 }
        /^Value: / && name == metric && here && $2 > 0 { found = 1 }
        END { exit !found }' /run/received
}

# Only the programs in the kernel know this figure.
figures_arrive() {
    arrives m8refsvr.block.io disk.io.direction write
}

# Every file of the machine, but what it writes by itself while it runs.
listing() {
    find / -xdev \( -path "$state" -o -path /var/log/journal -o -path /var/lib/systemd/random-seed \
        -o -name 'systemd-private-*' \) -prune -o -printf '%p %y %m %u:%g\n' | sort
    find /run /tmp /var/tmp /sys/fs/bpf -name '*m8refsvr*'
}

# listing_is FILE: whether the machine has the same files as when that listing was made.
listing_is() {
    listing | diff "$1" -
}

# proven: the last thing that a proof says.
proven() {
    echo "proven: $checks"
}
