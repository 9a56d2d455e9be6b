#!/bin/sh
# What dpkg does with the package $1 on a machine without a running systemd, as in the build of an image.
set -eu
wants=/etc/systemd/system/multi-user.target.wants/m8refsvr-agent.service
settings=/etc/m8refsvr/agent.env
export DEBIAN_FRONTEND=noninteractive

step() { echo "step: $*"; }
later() {
    mkdir /later
    dpkg-deb --raw-extract "$1" /later/tree
    sed -i 's/^Version: .*/Version: 999/' /later/tree/DEBIAN/control
    dpkg-deb --build --root-owner-group /later/tree /later/package.deb >/dev/null
}

step "installed: it runs, it is enabled, and its settings are root's"
dpkg --install "$1" >/dev/null
m8refsvr-agent --version
[ -L "$wants" ]
[ "$(stat -c %a:%u "$settings")" = 600:0 ]
[ -s /usr/share/doc/m8refsvr-agent/docs/fleets.md ]
[ -x /usr/share/doc/m8refsvr-agent/packaging/kubernetes/image-root.sh ]

step "upgraded: edited settings stay"
later "$1"
echo PROCESS_NAME=nginx >"$settings"
dpkg --force-confold --install /later/package.deb >/dev/null
[ "$(cat "$settings")" = PROCESS_NAME=nginx ]
[ -L "$wants" ]

step "upgraded: what was disabled stays so"
systemctl --quiet disable m8refsvr-agent
dpkg --install /later/package.deb >/dev/null
[ ! -e "$wants" ]
systemctl --quiet enable m8refsvr-agent

step "removed: only settings stay"
dpkg --remove m8refsvr-agent >/dev/null
[ ! -e /usr/bin/m8refsvr-agent ]
[ -e "$settings" ]

step "purged: nothing stays"
mkdir -p /var/log/private/m8refsvr
ln -s private/m8refsvr /var/log/m8refsvr
dpkg --purge m8refsvr-agent >/dev/null
left=$(find /etc /usr /var -xdev -name '*m8refsvr*')
[ -z "$left" ] || { echo "left: $left" >&2; exit 1; }

step "installed again after a removal: settings are dpkg's again"
dpkg --install "$1" >/dev/null
dpkg --remove m8refsvr-agent >/dev/null
dpkg --install "$1" >/dev/null
[ -s "$settings" ]
[ -z "$(dpkg-divert --list '*m8refsvr*')" ]
dpkg --purge m8refsvr-agent >/dev/null
[ ! -e /etc/m8refsvr ]

step "purged beside what the script installed: that keeps its settings, its log, and starts at boot"
mkdir /script
tar --extract --strip-components=1 --file "$(echo "${1%/*}"/*.tar.gz)" --directory /script
dpkg --install "$1" >/dev/null
/script/install-m8refsvr-agent.sh >/dev/null
echo PROCESS_NAME=nginx >"$settings"
mkdir -p /var/log/private/m8refsvr
dpkg --purge m8refsvr-agent >/dev/null
beside() {
    [ "$(cat "$settings")" = "PROCESS_NAME=$1" ]
    [ -d /var/log/private/m8refsvr ]
    [ -L "$wants" ]
}
beside nginx

step "removed, and purged later: the script's installation keeps what was edited in between"
dpkg --force-confold --install "$1" >/dev/null
dpkg --remove m8refsvr-agent >/dev/null
echo PROCESS_NAME=other >"$settings.edited"
mv "$settings.edited" "$settings"
dpkg --purge m8refsvr-agent >/dev/null
beside other

step "failed to be installed again, and purged: the script's installation keeps its settings"
dpkg --force-confold --install "$1" >/dev/null
dpkg --remove m8refsvr-agent >/dev/null
# A file of another package, so that the installation fails.
cp /usr/bin/true /later/tree/usr/bin/env
dpkg-deb --build --root-owner-group /later/tree /later/broken.deb >/dev/null
if dpkg --force-confold --install /later/broken.deb >/dev/null 2>&1; then exit 1; fi
dpkg --purge m8refsvr-agent >/dev/null
beside other

step "a diversion that was left is gone after an upgrade"
dpkg --force-confold --install "$1" >/dev/null
dpkg-divert --quiet --local --no-rename --divert "$settings.dpkg-diverted" --add "$settings"
dpkg --force-confold --install /later/package.deb >/dev/null
[ -z "$(dpkg-divert --list '*m8refsvr*')" ]
dpkg --purge m8refsvr-agent >/dev/null
beside other

step "the script removes settings that no package knows, and leaves those of one that is not purged yet"
dpkg --force-confold --install "$1" >/dev/null
dpkg --remove m8refsvr-agent >/dev/null
/script/install-m8refsvr-agent.sh --uninstall >/dev/null
[ -s "$settings" ]
dpkg --purge m8refsvr-agent >/dev/null
[ ! -e /etc/m8refsvr ]
dpkg --install "$1" >/dev/null
/script/install-m8refsvr-agent.sh >/dev/null
dpkg --purge m8refsvr-agent >/dev/null
[ -s "$settings" ]
/script/install-m8refsvr-agent.sh --uninstall >/dev/null
[ ! -e /etc/m8refsvr ]

step "an administrator's diversion, and the file that it makes room for, stay"
dpkg-divert --quiet --local --no-rename --divert "$settings.dpkg-own" --add "$settings"
mkdir -p /etc/m8refsvr
echo PROCESS_NAME=own >"$settings"
dpkg --install "$1" >/dev/null
[ -s "$settings.dpkg-own" ]
dpkg --remove m8refsvr-agent >/dev/null
dpkg --install "$1" >/dev/null
dpkg --purge m8refsvr-agent >/dev/null
[ "$(dpkg-divert --truename "$settings")" = "$settings.dpkg-own" ]
[ "$(cat "$settings")" = PROCESS_NAME=own ]
[ ! -e "$settings.dpkg-own" ]
dpkg-divert --quiet --local --no-rename --remove "$settings"
rm -r /etc/m8refsvr

step "purged beside a unit of the script's that was edited: its settings stay"
own=/etc/systemd/system/m8refsvr-agent.service
dpkg --install "$1" >/dev/null
/script/install-m8refsvr-agent.sh >/dev/null
sed -i 's|^ExecStart=/|ExecStart=/usr/bin/nice /|' "$own"
dpkg --purge m8refsvr-agent >/dev/null
[ -s "$settings" ]
/script/install-m8refsvr-agent.sh --uninstall >/dev/null

step "purged beside a copy of its own unit that was edited: nothing but that stays"
dpkg --install "$1" >/dev/null
sed 's|^ExecStart=/|ExecStart=/bin/nice /|' /usr/lib/systemd/system/m8refsvr-agent.service >"$own"
dpkg --purge m8refsvr-agent >/dev/null
[ ! -e /etc/m8refsvr ]
rm "$own"
