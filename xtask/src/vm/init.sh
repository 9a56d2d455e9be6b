#!/bin/sh
# The first process of a machine: makes it ready, runs the tests as its children, and tells how they ended.
# TESTS and the FOLDER of the tests' files come from the kernel's command line.
export PATH=/bin RUST_BACKTRACE=0

end() {
    echo "machine: $1"
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
echo 1 > /proc/sys/kernel/printk

while read -r module; do
    need insmod "/modules/$module"
done < /modules/order
need mount -t ext4 /dev/vda "$FOLDER"

cd "$FOLDER" || end "no $FOLDER"
export M8REFSVR_LOG_OBJECT=/m8refsvr-log.o
/tests $TESTS
end "tests ended with $?"
