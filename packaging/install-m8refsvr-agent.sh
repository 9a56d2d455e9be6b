#!/bin/sh
# Installs m8refsvr-agent as a service that starts at boot, upgrades it, or removes it. Every change is noted before it
# is made, and taken back in reverse order when a later step fails.
set -eu
umask 022

name=m8refsvr-agent
unit=$name.service
here=$(CDPATH="" cd -- "$(dirname -- "$0")" >/dev/null && pwd)

usage() {
    cat <<END
Usage: $0 [OPTIONS]

Installs m8refsvr-agent from the folder of this script, or upgrades what is installed. As root it becomes a service of
the system; as an ordinary user a service of that user, or where there is no systemd for users, a line in the crontab.

  -d, --directory DIR  where to [default: as before; at first $default_directory]
  -r, --restart        start it too, or restart it on an upgrade, so that the new code runs
  -u, --uninstall      remove it, with its settings and logs
  -h, --help           show this
END
}

say() { printf '%s\n' "$*"; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# --- Whose service it is ---

if [ "$(id -u)" -eq 0 ]; then
    is_root=true
    manuals=/usr/local/share/man/man1
    default_directory=/opt/instana/agent/plugins/custom_sensors/microstrategy_m8refsvr
    units=/etc/systemd/system
    list=/etc/m8refsvr/installed-files
    ctl() { systemctl "$@"; }
else
    is_root=false
    : "${HOME:?is not set}"
    # Where logind has it. After `su` the variable is another user's, and in a crontab it is not set.
    XDG_RUNTIME_DIR=/run/user/$(id -u)
    export XDG_RUNTIME_DIR
    default_directory=$HOME/instana-plugins/custom_sensors/microstrategy_m8refsvr
    units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
    list=${XDG_CONFIG_HOME:-$HOME/.config}/m8refsvr/installed-files
    ctl() { systemctl --user "$@"; }
fi

# Whether systemd is there to be talked to: in an image that is being built, root can only prepare the next boot, and a
# user without a session the next login. systemctl then changes files by itself.
manager_answers() {
    if $is_root; then [ -d /run/systemd/system ]; else ctl show-environment >/dev/null 2>&1; fi
}
if manager_answers; then
    manager_runs=true
else
    manager_runs=false
    export SYSTEMD_OFFLINE=1
fi

# Whether a distribution's package is installed beside.
is_packaged() {
    $is_root && { [ -e "/usr/lib/systemd/system/$unit" ] || [ -e "/lib/systemd/system/$unit" ]; }
}

# Whether the settings are a package's: Debian's keep theirs when it is removed, until it is purged.
is_package_settings() { $is_root && { is_packaged || dpkg-query --show "$name" >/dev/null 2>&1; }; }

# --- The crontab, where there is no systemd for users ---

mark="# $name"
cron_line() {
    say "@reboot cd $directory && set -af && . ./agent.env && exec $directory/$name \$M8REFSVR_ARGS >>agent.log 2>&1 $mark"
}

# The crontab without our line.
other_cron_lines() { crontab -l 2>/dev/null | grep -v "$mark\$" || true; }

has_cron_line() { ! $is_root && command -v crontab >/dev/null && crontab -l 2>/dev/null | grep -q "$mark\$"; }

# write_crontab FILE
write_crontab() {
    if [ -s "$1" ]; then crontab "$1"; else crontab -r; fi
}

# The agents that were started from the crontab. With capabilities of its own, an agent's /proc/PID/exe is not ours to
# read, but its command line is.
running_agents() {
    for process in /proc/[0-9]*; do
        { read -r comm <"$process/comm"; } 2>/dev/null || continue
        [ "$comm" = "$name" ] || continue
        program=$(tr '\0' '\n' 2>/dev/null <"$process/cmdline" | head -n 1) || continue
        if [ "$program" = "$directory/$name" ]; then say "${process#/proc/}"; fi
    done
}

stop_agents() {
    for signal in TERM KILL; do
        for attempt in 1 2 3 4 5 6 7 8; do
            pids=$(running_agents)
            if [ -z "$pids" ]; then return; fi
            if [ "$attempt" -eq 1 ]; then
                # shellcheck disable=SC2086  # several words
                kill -s "$signal" $pids 2>/dev/null || true
            fi
            sleep 1
        done
    done
}

start_agent() {
    command=$(cron_line)
    command=${command#@reboot }
    nohup /bin/sh -c "$command" </dev/null >/dev/null 2>&1 &
    # What is wrong with the settings it says within a moment.
    sleep 2
    if ! kill -0 $! 2>/dev/null; then
        tail -n 5 "$directory/agent.log" >&2
        return 1
    fi
}

# --- Changes that can be taken back ---

# What to do to be where we were, the newest first.
journal=
# Folders that were made and are not in the list yet.
folders=
work=

note() { journal="$1
$journal"; }

undo() {
    printf 'taking back what was done\n' >&2
    say "$journal" | while read -r verb path; do
        case $verb in
        remove) rm -f "$path" "$path.partial" ;;
        restore)
            rm -f "$path.partial"
            if [ -e "$path.before" ] || [ -L "$path.before" ]; then mv -f "$path.before" "$path"; fi
            ;;
        folder) rmdir "$path" 2>/dev/null ;;
        crontab) write_crontab "$work/crontab.before" ;;
        list) if [ -e "$work/list.before" ]; then cp "$work/list.before" "$path"; else rm -f "$path"; fi ;;
        reenable) ctl --quiet reenable "$unit" ;;
        disable) ctl --quiet disable "$unit" 2>/dev/null ;;
        logs) rm -rf /var/log/m8refsvr /var/log/private/m8refsvr ;;
        stop)
            ctl stop "$unit"
            ctl reset-failed "$unit" 2>/dev/null
            ;;
        kill) stop_agents ;;
        reload) if $manager_runs; then ctl daemon-reload; fi ;;
        restart) ctl restart "$unit" ;;
        start) start_agent ;;
        esac
    done
}

finish() {
    status=$?
    trap - EXIT
    trap '' HUP INT TERM
    if [ "$status" -ne 0 ] && [ -n "$journal" ]; then
        set +e
        undo
    fi
    if [ -n "$work" ]; then rm -rf "$work"; fi
    exit "$status"
}

# From here on nothing is taken back.
keep() {
    say "$journal" | while read -r verb path; do
        if [ "$verb" = restore ]; then rm -f "$path.before"; fi
    done
    journal=
}

# folder PATH: makes a folder, and those above it.
folder() {
    if [ -d "$1" ]; then return; fi
    folder "$(dirname "$1")"
    note "folder $1"
    mkdir "$1"
    folders="$folders$1
"
}

# is_ours PATH: whether the list of what this script has made names it.
is_ours() { grep -qxF -e "$1" "$list" 2>/dev/null; }

# claim PATH: puts it in the list, with the folders made for it. Nothing that is not in there is replaced or removed.
claim() {
    if is_ours "$1"; then return; fi
    if [ -e "$1" ] || [ -L "$1" ]; then die "$1 is there already and not from this script: move it away first"; fi
    printf '%s%s\n' "$folders" "$1" >>"$list"
    folders=
}

# put MODE SOURCE TARGET: a file appears in its place at once and whole. One that is the same stays as it is, so that
# the program keeps the capabilities that setcap gave it.
put() {
    claim "$3"
    if [ ! -L "$3" ] && cmp -s "$2" "$3"; then
        if [ "$(stat -c %a "$3")" != "$1" ]; then chmod "$1" "$3"; fi
        return
    fi
    if [ -e "$3" ] || [ -L "$3" ]; then
        note "restore $3"
        ln -f "$3" "$3.before"
    else
        note "remove $3"
    fi
    rm -f "$3.partial"
    cp "$2" "$3.partial"
    chmod "$1" "$3.partial"
    mv -f "$3.partial" "$3"
}

# --- Installing ---

# The folder of what this script has installed, if anything is. Only the list tells: the folder may be gone, and the unit
# or the crontab be edited.
installed_directory() { sed -n "s|^\(/.*\)/install-$name\.sh\$|\1|p" "$list" 2>/dev/null || true; }

# Whether the unit's place is taken by what is not of this script, or by now runs another agent, or is a link, by which a
# unit is masked. One that `systemctl edit --full` changed is still of this script.
is_taken() {
    if [ -L "$units/$unit" ]; then return; fi
    if [ ! -e "$units/$unit" ]; then return 1; fi
    is_ours "$units/$unit" || return 0
    case $(grep '^ExecStart=' "$units/$unit") in
    *"$directory/$name "*) return 1 ;;
    *"/$name "*) ;;
    *) return 1 ;;
    esac
}

check_directory() {
    case $directory/ in
    //) die "give a folder of the program's own, not /" ;;
    *[!A-Za-z0-9_./@:+,=~-]*) die "$directory: letters, digits and any of _ . / @ : + , = ~ - may be in the folder's path" ;;
    */../* | */./* | *//*) die "$directory: give the folder's path without . and .. in it" ;;
    esac
    # Where links lead to, of the folders that are there. Not every readlink can tell.
    above=$directory
    while [ ! -d "$above" ]; do above=$(dirname "$above"); done
    leads_to=$(CDPATH="" cd -P -- "$above" && pwd) || die "$directory: $above can't be entered"
    case ${leads_to%/}${directory#"${above%/}"}/ in
    /run/* | /dev/*) die "$directory: nothing of what is there outlasts a boot" ;;
    /home/* | /root/* | /tmp/* | /var/tmp/*)
        if $is_root; then die "$directory: the service can't see files there (ProtectHome, PrivateTmp)"; fi
        ;;
    esac
}

# The settings that are there stay, if they have been edited. Then new ones are put beside them, if these have changed.
install_settings() {
    old=$directory/agent.env.default
    new=$here/agent.env
    current=$settings/agent.env
    if [ ! -e "$current" ] || { is_ours "$current" && cmp -s "$old" "$current"; }; then
        put 600 "$new" "$current"
    elif ! cmp -s "$new" "$current" && ! cmp -s "$old" "$new"; then
        put 600 "$new" "$current.new"
        say "kept $current as it was edited; the new one is $current.new"
    fi
    put 644 "$new" "$old"
}

install_unit() {
    folder "$units"
    if $is_root; then
        sed "s|^ExecStart=/usr/bin/|ExecStart=$directory/|" "$here/$unit" >"$work/$unit"
    else
        sed "s|@DIR@|$directory|" "$here/$name.user.service" >"$work/$unit"
    fi
    grep -q "^ExecStart=$directory/$name " "$work/$unit" || die "the unit beside this script has no place for $directory"
    # A package's is.
    was_enabled=false
    if [ -z "$before" ] && ctl --quiet is-enabled "$unit" 2>/dev/null; then
        was_enabled=true
        note reenable
    fi
    put 644 "$work/$unit" "$units/$unit"
    if $manager_runs; then ctl daemon-reload; fi
    # What was disabled since the first installation stays so.
    if [ -n "$before" ]; then return; fi
    if ! $was_enabled; then note disable; fi
    # Not `enable`, for which the link of a package's is in the way.
    ctl --quiet reenable "$unit"
}

install_cron_line() {
    command -v crontab >/dev/null || die "there is neither a systemd for users nor a crontab to start the agent at boot"
    crontab -l >"$work/crontab.before" 2>/dev/null || true
    other_cron_lines >"$work/crontab"
    cron_line >>"$work/crontab"
    claim "$directory/agent.log"
    note crontab
    crontab "$work/crontab"
}

restart_service() {
    if ! $was_active; then
        if $is_root && [ ! -e /var/log/m8refsvr ] && [ ! -e /var/log/private/m8refsvr ]; then note logs; fi
        note stop
    fi
    if ! ctl restart "$unit"; then
        ctl --no-pager --full --lines 10 status "$unit" >&2 || true
        die "the service did not start"
    fi
}

restart_agent() {
    if [ ! -e "$directory/agent.log" ]; then note "remove $directory/agent.log"; fi
    if ! $was_active; then note kill; fi
    stop_agents
    start_agent || die "the agent did not start"
}

install() {
    for file in "$name" "$unit" "$name.user.service" agent.env LICENSE "man/$name.1"; do
        [ -f "$here/$file" ] || die "$here/$file is missing: run this script in the folder that the tarball unpacks to"
    done
    "$here/$name" --version >/dev/null || die "$here/$name does not run on this machine"
    before=$(installed_directory)
    : "${directory:=${before:-$default_directory}}"
    check_directory
    if [ -n "$before" ] && [ "$before" != "$directory" ]; then
        die "it is installed in $before already: $0 --uninstall removes it from there"
    fi
    if $is_root; then
        command -v systemctl >/dev/null || die "this machine has no systemd"
        with_systemd=true settings=/etc/m8refsvr
    else
        settings=$directory
        # An upgrade keeps to what there is, from wherever it is called: with both there would be two agents.
        if is_ours "$units/$unit"; then
            with_systemd=true
        elif has_cron_line; then
            with_systemd=false
        else
            with_systemd=$manager_runs
        fi
    fi
    if is_taken; then die "$units/$unit is not from this script, or masked: remove it first"; fi
    if is_packaged; then
        say "note: the package $name is installed too. The unit in $units wins over the package's until it is removed."
    fi

    trap finish EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work=$(mktemp -d)
    was_active=false
    if $with_systemd; then
        if $manager_runs && ctl --quiet is-active "$unit"; then was_active=true; fi
        if $was_active && $restart; then note restart; fi
        note reload
    elif [ -n "$(running_agents)" ]; then
        was_active=true
        if $restart; then note start; fi
    fi

    folder "$(dirname "$list")"
    if [ -e "$list" ]; then cp "$list" "$work/list.before"; fi
    note "list $list"
    folder "$directory"
    folder "$settings"
    # The first, because its place in the list tells the folder.
    put 755 "$here/$(basename "$0")" "$directory/install-$name.sh"
    put 755 "$here/$name" "$directory/$name"
    put 644 "$here/LICENSE" "$directory/LICENSE"
    # Some systems have a /usr that nobody writes to.
    if $is_root && [ -w /usr/local ]; then
        folder "$manuals"
        for page in "$here"/man/*.1; do put 644 "$page" "$manuals/$(basename "$page")"; done
    fi
    install_settings
    if $with_systemd; then install_unit; else install_cron_line; fi
    "$directory/$name" --version >/dev/null || die "$directory/$name does not run there"
    if $restart; then
        if ! $with_systemd; then
            restart_agent
        elif $manager_runs; then
            restart_service
        fi
    fi
    keep
    report
}

report() {
    say "installed $("$directory/$name" --version) in $directory, with its settings in $settings/agent.env"
    if $was_active && ! $restart; then
        say "the agent that runs is still the one from before: $0 --restart replaces it"
    elif $with_systemd && ! $restart; then
        if $is_root; then say "it starts at boot, and now with: systemctl start $name"
        else say "it starts with your session, and now with: systemctl --user start $name"; fi
    elif ! $restart; then
        say "it starts at boot, and now with: $0 --restart"
    fi
    if $is_root; then return; fi
    if $with_systemd && [ "$(loginctl show-user "$(id -un)" --property Linger 2>/dev/null)" != Linger=yes ]; then
        say "to have it run from boot on, and not only while you are logged in:"
        say "    sudo loginctl enable-linger $(id -un)"
    fi
    say "to let it count in the kernel and read other users' processes (again after each upgrade):"
    say "    sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep $directory/$name"
}

# --- Removing ---

uninstall() {
    before=$(installed_directory)
    : "${directory:=${before:-$default_directory}}"
    if [ -n "$before" ] && [ "$before" != "$directory" ]; then die "it is installed in $before, not in $directory"; fi
    if [ -z "$before" ]; then
        say "it is not installed in $directory"
        return
    fi
    work=$(mktemp -d)
    trap finish EXIT
    if $is_root; then settings=/etc/m8refsvr; else settings=$directory; fi
    if is_ours "$units/$unit"; then
        if is_taken; then say "kept $units/$unit, which is another's by now"; else remove_unit; fi
    fi
    if has_cron_line; then
        other_cron_lines >"$work/crontab"
        write_crontab "$work/crontab"
    fi
    if ! $is_root; then stop_agents; fi

    if $is_root && ! is_packaged; then rm -rf /var/log/m8refsvr /var/log/private/m8refsvr; fi
    # The deepest first.
    LC_ALL=C sort -r "$list" >"$work/list"
    while read -r path; do
        case $path in
        # Removed, or another's by now.
        "$units/$unit") continue ;;
        "$settings"/agent.env*) if is_package_settings; then continue; fi ;;
        esac
        if [ -L "$path" ] || [ ! -d "$path" ]; then rm -f "$path" "$path.before" "$path.partial"; fi
    done <"$work/list"
    # Where a package was there first, they are in no list.
    if $is_root && ! is_package_settings; then rm -f "$settings/agent.env" "$settings/agent.env.beside"; fi
    rm -f "$list"
    # Those that others use too stay.
    while read -r path; do rmdir "$path" 2>/dev/null || true; done <"$work/list"
    if $is_root; then rmdir "$settings" 2>/dev/null || true; fi
    say "removed it from $directory"
}

# `disable` does not find the links of a unit whose file is gone.
remove_links() {
    if [ -e "$units/$unit" ]; then ctl --quiet disable "$unit"; fi
    for link in "$units"/*.wants/"$unit"; do
        if [ ! -L "$link" ]; then continue; fi
        rm -f "$link"
        rmdir "$(dirname "$link")" 2>/dev/null || true
    done
}

remove_unit() {
    # Without its file a unit can run still, or not be known any more.
    if $manager_runs; then ctl stop "$unit" 2>"$work/said" || [ ! -e "$units/$unit" ] || die "$(cat "$work/said")"; fi
    was_enabled=false
    if ctl --quiet is-enabled "$unit" 2>/dev/null; then was_enabled=true; fi
    if ! is_packaged; then remove_links; fi
    rm -f "${units:?}/$unit"
    # What `systemctl edit` wrote for the package stays in force.
    if ! is_packaged; then rm -rf "${units:?}/$unit.d"; fi
    if $manager_runs; then
        ctl daemon-reload
        ctl reset-failed "$unit" 2>/dev/null || true
    fi
    if is_packaged; then
        if $was_enabled; then ctl --quiet reenable "$unit"; fi
        say "the package $name is still installed, and its service in force: systemctl start $name"
    fi
}

# --- The command line ---

# set_directory DIR: the folder, from wherever this is called.
set_directory() {
    case $1 in
    '') die "--directory needs a folder" ;;
    /) directory=$1 ;;
    /*) directory=${1%/} ;;
    *) directory=${PWD%/}/${1%/} ;;
    esac
}

directory=
restart=false
action=install
while [ $# -gt 0 ]; do
    case $1 in
    -d | --directory)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        shift
        set_directory "$1"
        ;;
    --directory=*) set_directory "${1#*=}" ;;
    -r | --restart) restart=true ;;
    -u | --uninstall) action=uninstall ;;
    -h | --help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done
$action
