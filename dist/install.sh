#!/bin/sh
# Puts an installation into DESTDIR: the binary and its links, manual page, completions, unit, configuration, documents. An
# existing configuration stays. `make install` calls it.
# Usage: BINARY= DESTDIR= PREFIX= SYSCONFDIR= STATEDIR= UNITDIR= dist/install.sh
set -eu

: "${BINARY:?}" "${DESTDIR=}" "${PREFIX:?}" "${SYSCONFDIR:?}" "${STATEDIR:?}" "${UNITDIR:?}"
dist=$(cd "$(dirname "$0")" && pwd)
bin=$PREFIX/bin
share=$PREFIX/share

# A file of dist, with the places filled in.
place() {
    install -d "$DESTDIR$(dirname "$2")"
    sed -e "s|@BINDIR@|$bin|g" -e "s|@SYSCONFDIR@|$SYSCONFDIR|g" -e "s|@STATEDIR@|$STATEDIR|g" "$dist/$1" >"$DESTDIR$2"
    chmod 644 "$DESTDIR$2"
}

# What the binary says of itself.
generate() {
    install -d "$DESTDIR$(dirname "$1")"
    shift_path=$DESTDIR$1
    shift
    "$BINARY" "$@" >"$shift_path"
    chmod 644 "$shift_path"
}

install -D -m 755 "$BINARY" "$DESTDIR$bin/memkv-server"
for name in memkv-check-aof memkv-check-rdb redis-check-aof redis-check-rdb; do
    # A command of Redis that is there already is not replaced.
    if [ -L "$DESTDIR$bin/$name" ] || [ ! -e "$DESTDIR$bin/$name" ]; then
        ln -sf memkv-server "$DESTDIR$bin/$name"
    fi
done
generate "$share/man/man1/memkv-server.1" --man
generate "$share/bash-completion/completions/memkv-server" --completions bash
generate "$share/zsh/site-functions/_memkv-server" --completions zsh
generate "$share/fish/vendor_completions.d/memkv-server.fish" --completions fish
generate "$share/memkv/memkv.conf.sample" --sample-conf
place systemd/memkv-server.service "$UNITDIR/memkv-server.service"
place systemd/redis-server.override.conf "$share/memkv/redis-server.override.conf"
place sysusers.conf "$PREFIX/lib/sysusers.d/memkv.conf"
place logrotate "$SYSCONFDIR/logrotate.d/memkv-server"
[ -e "$DESTDIR$SYSCONFDIR/memkv/memkv.conf" ] || place memkv.conf "$SYSCONFDIR/memkv/memkv.conf"
for file in monitoring/alerts.yml monitoring/grafana.json; do
    place "$file" "$share/memkv/$(basename "$file")"
done
for page in "$dist"/../docs/*.md; do
    install -D -m 644 "$page" "$DESTDIR$share/doc/memkv-server/$(basename "$page")"
done
