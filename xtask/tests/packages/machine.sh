#!/bin/sh
# Runs a script on a copy of this machine, of which nothing is left: every change goes into memory.
# machine.sh FOLDER SCRIPT [ARGUMENT...], in mounts of its own; FOLDER is where the copy appears.
set -eu
copy=$1
shift
mount -t tmpfs tmpfs "$copy"
mkdir "$copy/upper" "$copy/work" "$copy/root"
mount -t overlay -o "lowerdir=/,upperdir=$copy/upper,workdir=$copy/work" overlay "$copy/root"
mount -t proc proc "$copy/root/proc"
mount --rbind /dev "$copy/root/dev"
# Only what lies on the root's own file system is in the copy.
mkdir "$copy/root/packages"
mount --bind "$(dirname "$2")" "$copy/root/packages"
cp "$1" "$copy/root/script.sh"
package=/packages/$(basename "$2")
cd /
exec chroot "$copy/root" sh -eu /script.sh "$package"
