#!/bin/sh
# The first process: mounts the disks and starts systemd.
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/modules/$module"
done </modules/order
mount -t ext4 /dev/vda /root
mount -t ext4 -o ro /dev/vdb /root/test
exec switch_root /root /sbin/init
