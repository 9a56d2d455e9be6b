#!/bin/bash
# The tarball's installation script: run by root, twice, where it must fail, for an upgrade and to uninstall, and by an
# ordinary user.
set -u
# shellcheck source-path=SCRIPTDIR source=lib.sh
. /test/lib.sh

installer=install-m8refsvr-agent.sh

# Makes two versions: a program with one more byte at its end works as before.
unpack() {
    tar --extract --gzip --file=/test/newer.tar.gz --directory="$state" --no-same-owner
    newer=$(echo "$state"/m8refsvr-agent-*)
    older=$state/older
    cp -r "$newer" "$older"
    echo >>"$older/m8refsvr-agent"
}

by_root() {
    local directory=/opt/instana/agent/plugins/custom_sensors/microstrategy_m8refsvr
    local env_file=/etc/m8refsvr/agent.env before
    listing >"$state/before"
    mount --bind /etc/systemd/system /etc/systemd/system
    mount -o remount,bind,ro /etc/systemd/system
    check "the script fails where it can't put the unit" not "$older/$installer" --restart
    umount /etc/systemd/system
    check "a script that failed leaves nothing" listing_is "$state/before"

    check "the script installs and starts the service" "$older/$installer" --restart
    check "the script's service is enabled" is enabled systemctl is-enabled m8refsvr-agent
    check "the script's service is ready" is active property ActiveState
    check "the script's service executes the program that was installed" runs_installed "$directory/m8refsvr-agent"
    echo COLLECTION_INTERVAL=2 >>"$env_file"
    cp "$env_file" "$state/agent.env"

    before=$(pid)
    listing >"$state/installed"
    check "the script can be run again" "$older/$installer"
    check "a second run changes no file" listing_is "$state/installed"
    check "a second run leaves the service alone" is "$before" pid

    check "the script upgrades" "$newer/$installer" --restart
    check "an upgrade starts the service again" restarted "$before"
    check "an upgrade runs the new code" cmp "/proc/$(pid)/exe" "$newer/m8refsvr-agent"
    check "an upgrade keeps edited settings" cmp "$env_file" "$state/agent.env"
    check "the programs are attached" eventually counts_in_kernel
    check "what the kernel counted for a process arrives at a receiver" eventually metrics_arrive

    check "the script uninstalls" "$directory/$installer" --uninstall
    check "an uninstalled service leaves no process" not pgrep -f "$directory"
    check "an uninstalled service leaves no program in the kernel" eventually is 0 programs
    check "an uninstalled service leaves nothing" listing_is "$state/before"
}

# as_user COMMAND: runs it in a login shell of the ordinary user.
as_user() {
    runuser --login user --command "$1"
}

user_installs() {
    as_user "$newer/$installer --restart" >"$state/said"
}

by_user() {
    local directory=/home/user/instana-plugins/custom_sensors/microstrategy_m8refsvr line before
    useradd --create-home --shell /bin/bash user
    user=$(id -u user)
    loginctl enable-linger user
    check "the user has a systemd" eventually systemctl is-active "user@$user"
    manager() {
        runuser --user user -- env "XDG_RUNTIME_DIR=/run/user/$user" systemctl --user "$@"
    }
    listing >"$state/before"
    check "a user's script installs and starts the service" user_installs
    check "a user's service is enabled" is enabled manager is-enabled m8refsvr-agent
    check "a user's service is ready" is active property ActiveState
    check "a user's service reads /proc alone as long as it has no rights" eventually logs "lifecycle from procfs"
    echo COLLECTION_INTERVAL=2 >>"$directory/agent.env"

    line=$(grep --only-matching 'setcap .*' "$state/said")
    # shellcheck disable=SC2086  # several words
    check "the line that the script shows gives rights to the program" $line
    before=$(pid)
    clear_received
    manager restart m8refsvr-agent
    check "a user's service is ready with rights" restarted "$before"
    check "a user's service is the user's own" is "$user" status Uid
    check "a user's service has the capabilities that it needs, and no others" \
        is "$(capabilities sys_ptrace dac_read_search)" status CapEff
    check "a user's programs are attached" eventually counts_in_kernel
    check "what the kernel counted for a user's service arrives at a receiver" eventually metrics_arrive

    check "a user's script uninstalls" as_user "$directory/$installer --uninstall"
    check "a user's service leaves no process when it is uninstalled" not pgrep -f "$directory"
    check "a user's service leaves nothing when it is uninstalled" listing_is "$state/before"
}

mkdir "$state"
start_receiver
start_load
unpack
by_root
by_user
finish
