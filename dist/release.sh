#!/bin/sh
# Archives of the optimised binary with everything that an installation needs, in target/dist, each with its checksum and the
# list of what is in it (CycloneDX). Without TARGETS: all that this machine can build.
# Usage: dist/release.sh VERSION [x86_64-v3] [x86_64] [aarch64]      CARGO= PROFILE=release
set -eu

version=$1
shift
cd "$(dirname "$0")/.."
: "${CARGO:=cargo}" "${PROFILE:=release}"
out=target/dist
mkdir -p "$out"

# The name in the archive, the target of rustc, what it needs besides, and RUSTFLAGS.
build() {
    name=$1 target=$2 needs=$3 flags=$4
    if ! command -v "$needs" >/dev/null || ! rustc --print target-libdir --target "$target" 2>/dev/null | xargs -r test -d; then
        echo "release: $name is left out: it takes $needs and 'rustup target add $target'"
        return
    fi
    RUSTFLAGS=$flags CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        $CARGO build --profile "$PROFILE" --locked --bin memkv-server --target "$target" --target-dir "target/dist-$name"
    pack "$name" "target/dist-$name/$target/$PROFILE/memkv-server"
}

# What cannot run here says its manual and completions by another binary of the same source.
pack() {
    name=$1 binary=$2
    tree=$out/memkv-$version-linux-$name
    rm -rf "$tree"
    mkdir -p "$tree"
    cp README.md LICENSE SECURITY.md CHANGELOG.md memkv.conf "$tree"
    cp -r docs dist "$tree"
    rm -rf "$tree/dist/docker" "$tree/dist/debian" "$tree/dist/release.sh" "$tree/dist/sbom.py"
    install -m 755 "$binary" "$tree/memkv-server"
    for link in memkv-check-aof memkv-check-rdb; do ln -sf memkv-server "$tree/$link"; done
    python3 dist/sbom.py "$version" >"$tree/sbom.json"
    tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner -czf "$tree.tar.gz" "memkv-$version-linux-$name"
    rm -rf "$tree"
    (cd "$out" && sha256sum "memkv-$version-linux-$name.tar.gz" >"memkv-$version-linux-$name.tar.gz.sha256")
    echo "release: $tree.tar.gz"
}

[ $# -gt 0 ] || set -- x86_64-v3 x86_64 aarch64
for name in "$@"; do
    case $name in
    x86_64-v3) build "$name" x86_64-unknown-linux-gnu cc "-C target-cpu=x86-64-v3 -C target-feature=+aes" ;;
    x86_64) build "$name" x86_64-unknown-linux-gnu cc "-C target-cpu=x86-64" ;;
    aarch64) build "$name" aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc "-C target-cpu=generic" ;;
    *) echo "release: unknown target $name"; exit 2 ;;
    esac
done
