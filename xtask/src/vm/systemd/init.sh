#!/bin/sh
# The first process, until the disk is there: then systemd is.
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/modules/$module"
done </modules/order
mount -t ext4 /dev/vda /root
mount -t ext4 -o ro /dev/vdb /root/proof
exec switch_root /root /sbin/init
