#!/bin/sh
# What rpm does with the package $1. Its dependencies are installed, but not in rpm's database.
set -eu
wants=/etc/systemd/system/multi-user.target.wants/m8refsvr-agent.service
settings=/etc/m8refsvr/agent.env

step() { echo "step: $*"; }

step "installed: it runs, presets decide whether it is enabled, and its settings are root's"
mkdir -p /etc/systemd/system-preset
echo "enable m8refsvr-agent.service" >/etc/systemd/system-preset/10-test.preset
rpm --install --nodeps "$1" 2>/dev/null
m8refsvr-agent --version
[ -L "$wants" ]
[ "$(stat -c %a:%u "$settings")" = 600:0 ]
[ -s /usr/share/doc/m8refsvr-agent/docs/fleets.md ]
[ -x /usr/share/doc/m8refsvr-agent/packaging/kubernetes/image-root.sh ]
rpm --verify --nodeps m8refsvr-agent

step "upgraded: edited settings stay"
echo PROCESS_NAME=nginx >"$settings"
rpm --upgrade --force --nodeps "$1" 2>/dev/null
[ "$(cat "$settings")" = PROCESS_NAME=nginx ]
[ -L "$wants" ]

step "removed: only edited settings stay, under another name"
mkdir -p /var/log/private/m8refsvr
ln -s private/m8refsvr /var/log/m8refsvr
rpm --erase m8refsvr-agent 2>/dev/null
[ "$(cat "$settings.rpmsave")" = PROCESS_NAME=nginx ]
left=$(find /etc /usr /var -xdev -name '*m8refsvr*' ! -path /etc/m8refsvr)
[ -z "$left" ] || { echo "left: $left" >&2; exit 1; }

step "a preset against it keeps it from being enabled"
echo "disable m8refsvr-agent.service" >/etc/systemd/system-preset/10-test.preset
rpm --install --nodeps "$1" 2>/dev/null
[ ! -e "$wants" ]
rpm --erase m8refsvr-agent 2>/dev/null

step "removed beside what the script installed: that keeps its settings, its log, and starts at boot"
mkdir /script
tar --extract --strip-components=1 --file "$(echo "${1%/*}"/*.tar.gz)" --directory /script
for setting in '' nginx; do
    rm -f "$settings"
    rpm --install --nodeps "$1" 2>/dev/null
    /script/install-m8refsvr-agent.sh >/dev/null
    if [ -n "$setting" ]; then echo "PROCESS_NAME=$setting" >"$settings"; fi
    before=$(cat "$settings")
    mkdir -p /var/log/private/m8refsvr
    rpm --erase m8refsvr-agent 2>/dev/null
    [ "$(cat "$settings")" = "$before" ]
    [ "$(ls --ignore=installed-files /etc/m8refsvr)" = agent.env ]
    [ -d /var/log/private/m8refsvr ]
    [ -L "$wants" ]
done

step "the script removes settings that no package knows any more"
/script/install-m8refsvr-agent.sh --uninstall >/dev/null
[ ! -e /etc/m8refsvr ]

step "removed beside a unit of the script's that was edited: its settings stay"
rpm --install --nodeps "$1" 2>/dev/null
/script/install-m8refsvr-agent.sh >/dev/null
sed -i 's|^ExecStart=/|ExecStart=/usr/bin/nice /|' /etc/systemd/system/m8refsvr-agent.service
rpm --erase m8refsvr-agent 2>/dev/null
[ -s "$settings" ]
