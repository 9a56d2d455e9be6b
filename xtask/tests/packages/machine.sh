#!/bin/sh
# Runs a script on a copy of this machine. All changes are in memory and are gone afterwards.
# machine.sh FOLDER SCRIPT PACKAGE, in a mount namespace; the copy is mounted at FOLDER.
set -eu
copy=$1
shift
mount -t tmpfs tmpfs "$copy"
mkdir "$copy/upper" "$copy/work" "$copy/root"
mount -t overlay -o "lowerdir=/,upperdir=$copy/upper,workdir=$copy/work" overlay "$copy/root"
mount -t proc proc "$copy/root/proc"
mount --rbind /dev "$copy/root/dev"
# The overlay has only the root file system, so the packages are mounted beside it.
mkdir "$copy/root/packages"
mount --bind "$(dirname "$2")" "$copy/root/packages"
cp "$1" "$copy/root/script.sh"
package=/packages/$(basename "$2")
cd /
exec chroot "$copy/root" sh -eu /script.sh "$package"
