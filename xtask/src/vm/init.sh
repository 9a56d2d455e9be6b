#!/bin/sh
# The first process of a machine: makes it ready, runs the tests as its children, looks at what the kernel gives, and
# tells how it went.
# TESTS, the FOLDER of the tests' files and the command AS that runs them come from the kernel's command line.
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
# As systemd has it. The shell is busybox's.
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

# What the kernel gives: a process that every figure can be told of, and three looks at it.
group=/sys/fs/cgroup/looked
mkdir $group
echo 100 > $group/pids.max
echo 1G > $group/memory.max
ln -s /tests /bin/M8RefSvr
M8RefSvr --brief join $group limit 100 become 54321 sleep 1000000000 &

look() {
    echo "machine: looks $1"
    shift
    need m8refsvr-agent --once --no-export --sample 0.1 --log-level debug "$@" 2>&1
}
look 'with BTF' --ebpf require
need mount -t tmpfs none /sys/kernel/btf
look 'without BTF'
look 'without BPF' --ebpf off
end 'done'
