#!/usr/bin/env bash
# Boots a small Debian with systemd and tries the Debian package's service there: READY under the hardened unit, reload, restart,
# an end by SIGKILL, stop, with the data there each time. Prints a line for each; exits 1 at the first that fails.
#
# The root is made by debootstrap if it is not there. Its port 6379 is in a network of its own. Needs: root, debootstrap,
# systemd-nspawn, a network for the first run.
# Usage: scripts/boot.sh DIRECTORY PACKAGE.deb     RELEASE=bookworm
set -euo pipefail

[ $# = 2 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
root=$(cd "$1" && pwd) package=$2
: "${RELEASE:=bookworm}"
console=$(mktemp)

say() { printf 'boot: %s\n' "$*"; }

mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $RELEASE" | head -1; }

if [ ! -e "$root/etc/debian_version" ] || [ -e "$root/debootstrap" ]; then
    say "debootstrap of $RELEASE"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,adduser,redis-tools "$RELEASE" "$root" "$(mirror)" >"$console"
fi
cp "$package" "$root/root/memkv.deb"
systemd-nspawn -q -D "$root" --register=no --keep-unit dpkg --install /root/memkv.deb >"$console" 2>&1 </dev/null
systemd-nspawn -q -D "$root" --register=no --keep-unit systemctl -q enable memkv-server >"$console" 2>&1 </dev/null

systemd-nspawn -q -D "$root" --register=no --keep-unit --private-network --kill-signal=SIGRTMIN+4 --boot >"$console" 2>&1 </dev/null &
nspawn=$!
trap 'kill $nspawn 2>/dev/null || true; wait $nspawn || true; rm -f "$console"' EXIT

# The system's first process is the child of nspawn.
init=
for _ in $(seq 100); do
    init=$(pgrep -P $nspawn -x systemd || true)
    [ -z "$init" ] || break
    sleep 0.1
done
[ -n "$init" ] || { cat "$console"; say "systemd did not start"; exit 1; }

within() { nsenter -t "$init" -m -p -i -u -n -C env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "$@"; }

expect() {
    local what=$1 wanted=$2 got
    shift 2
    for _ in $(seq 100); do
        got=$(within "$@" 2>&1 || true)
        [ "$got" != "$wanted" ] || { say "ok - $what"; return; }
        sleep 0.1
    done
    say "not ok - $what: $got"
    within journalctl -u memkv-server --no-pager -o cat -n 20 || true
    exit 1
}

property() { echo systemctl show -P "$1" memkv-server; }
unit() { within systemctl "$1" memkv-server || { say "not ok - $1"; exit 1; }; }
process() { within $(property MainPID); }

expect "the service is ready after the boot" "Ready to accept connections" $(property StatusText)
expect "it answers" OK redis-cli SET k v
first=$(process)
expect "it runs under the filter, as its user, with no capability" $'memkv\n0000000000000000\n2' \
    sh -c "ps=/proc/$first; stat -c %U \$ps; sed -n 's/^CapBnd:\t//p; s/^Seccomp:\t//p' \$ps/status"
within mv /var/log/memkv/memkv-server.log /var/log/memkv/moved
unit reload
expect "reload opens the log again" there sh -c "test -e /var/log/memkv/memkv-server.log && echo there"
expect "reload keeps the process" "$first" $(property MainPID)
unit restart
expect "restart keeps the data" v redis-cli GET k
within sh -c "kill -9 $(process)"
expect "a killed server is started again" 1 $(property NRestarts)
expect "and has its data" v redis-cli GET k
unit stop
expect "stop is a success" success $(property Result)
unit start
expect "start keeps the data" v redis-cli GET k
