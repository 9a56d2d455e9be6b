#!/bin/sh
# The first process of a machine with kernel tests: mounts file systems, runs the tests, then runs the agent three times
# to find out what the kernel provides, and prints how it ended.
# From the kernel's command line: TESTS selects tests, FOLDER is where they write files, AS is a command that runs them.
export PATH=/bin RUST_BACKTRACE=0

end() {
    echo "machine: ended, $1"
    poweroff -f
}
need() {
    "$@" || end "$* failed"
}

need mount -t proc proc /proc
need mount -t sysfs sys /sys
need mount -t devtmpfs dev /dev
need mount -t tracefs trace /sys/kernel/tracing
need mount -t bpf bpf /sys/fs/bpf
need mount -t cgroup2 groups /sys/fs/cgroup
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control || end 'no control groups'
need ip link set lo up
hostname machine
# The limit that systemd sets. The shell is busybox, whose ulimit has -H.
# shellcheck disable=SC3045
ulimit -Hn 524288
echo 1 > /proc/sys/kernel/printk

while read -r module; do
    need insmod "/modules/$module"
done < /modules/order
need mount -t ext4 /dev/vda "$FOLDER"

cd "$FOLDER" || end "no $FOLDER"
export M8REFSVR_LOG_OBJECT=/m8refsvr-log.o
export M8REFSVR_SPARE_DISKS='/dev/vdb /dev/vdc'
# Several words.
# shellcheck disable=SC2086
$AS /tests "$TESTS" || end "tests ended with $?"
[ -z "$TESTS" ] || end 'done'

# A process that has every metric, and three runs of the agent.
group=/sys/fs/cgroup/matching
mkdir $group
echo 100 > $group/pids.max
echo 1G > $group/memory.max
ln -s /tests /bin/M8RefSvr
M8RefSvr load join-cgroup $group limit-processes 100 setuid 54321 sleep 1000000000 &

run_agent() {
    echo "machine: runs $1"
    shift
    need m8refsvr-agent --once --no-export --sample 0.1 --log-level debug "$@" 2>&1
}
run_agent 'with BTF' --ebpf require
need mount -t tmpfs none /sys/kernel/btf
run_agent 'without BTF'
run_agent 'without BPF' --ebpf off
end 'done'
