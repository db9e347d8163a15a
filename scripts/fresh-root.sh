#!/usr/bin/env bash
# Shows that a bare Debian needs README's two commands and nothing else: a root made by debootstrap with a C compiler, make and
# a Rust toolchain gets the committed source, runs `make run` until it answers PING, and `make test` to its end.
#
# The root has processes and mounts of its own and this machine's network, mirrors and certificates. A root that is there
# already is used again, with a new copy of the source and what was built of it. Needs: root, debootstrap, a network.
# Usage: scripts/fresh-root.sh DIRECTORY [STEP ...]   with STEP of: system toolchain source run test (none: all)   PORT=21190
set -euo pipefail

say() { printf 'fresh-root: %s\n' "$*"; }

[ $# -ge 1 ] || { sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 2; }
project=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
fresh=$(cd "$1" && pwd)
shift
: "${PORT:=21190}" "${RELEASE:=bookworm}"
# What README asks for, and the certificates that cargo needs.
packages="gcc libc6-dev make ca-certificates"
certificates=/etc/ssl/certs/ca-certificates.crt

# A shell inside, with processes of its own: all of them end with it.
inside() {
    unshare --mount --pid --fork --kill-child --uts bash -euc '
        root=$1 script=$2 port=$3
        mount --make-rprivate /
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/tmp"
        mount -t proc proc "$root/proc"
        exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 PORT="$port" \
            PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            SSL_CERT_FILE=$4 PIP_CERT=$4 NODE_EXTRA_CA_CERTS=$4 bash -euo pipefail -c "$script"
    ' inside "$fresh" "$1" "$PORT" "$certificates"
}

step_system() {
    if [ ! -e "$fresh/etc/debian_version" ] || [ -e "$fresh/debootstrap" ]; then
        say "debootstrap of $RELEASE"
        debootstrap --variant=minbase "$RELEASE" "$fresh" "$(mirror)"
    fi
    cp /etc/resolv.conf "$fresh/etc/resolv.conf"
    cp /etc/hosts "$fresh/etc/hosts"
    # The machine's own lists of Debian's packages, and who it trusts.
    local list
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if [ -f "$list" ] && grep -q debian "$list"; then cp "$list" "$fresh${list}"; fi
    done
    [ ! -e "$fresh/etc/apt/sources.list.d/debian.sources" ] || rm -f "$fresh/etc/apt/sources.list"
    mkdir -p "$fresh/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$fresh/usr/local/share/ca-certificates/" 2>/dev/null || true
    inside "apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
        update-ca-certificates >/dev/null"
}

# Where this machine takes Debian's main archive from.
mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $RELEASE" | head -1; }

# README asks for a Rust toolchain: this machine's, without what its user has configured.
step_toolchain() {
    say "the toolchain: $(cargo --version)"
    mkdir -p "$fresh/opt/rust"
    cp -a "$(rustc --print sysroot)/." "$fresh/opt/rust/"
    inside 'cargo --version; cc --version | head -1'
}

step_source() {
    say "the source: $(git -C "$project" log -1 --format='%h %s')"
    mkdir -p "$fresh/memkv"
    # What was built stays; a file that is no longer in the source must not.
    find "$fresh/memkv" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
    git -C "$project" archive HEAD | tar -x -m -C "$fresh/memkv"
}

step_run() {
    say "make run"
    inside '
        cd /memkv
        make run ARGS="--bind 127.0.0.1 --port $PORT" &
        until exec 3<>/dev/tcp/127.0.0.1/$PORT; do kill -0 $!; sleep 1; done 2>/dev/null
        printf "PING\r\nINFO server\r\nSHUTDOWN NOSAVE\r\n" >&3
        grep -aE "PONG|version:" <&3
        wait $!'
    say "make run answered PING"
}

step_test() {
    say "make test"
    inside 'cd /memkv; make test </dev/null'
    say "make test came to its end"
}

[ $# -gt 0 ] || set -- system toolchain source run test
for step in "$@"; do
    case $step in
    system | toolchain | source | run | test) "step_$step" ;;
    *) say "unknown step $step"; exit 2 ;;
    esac
done
