#!/bin/sh
# Builds a Debian package of an installed tree: everything that `make install` puts under /usr and /etc, with the maintainer
# scripts beside this file.
# Usage: [COMPRESSION=xz] dist/debian/build.sh BINARY VERSION DIRECTORY     writes memkv-server_VERSION_ARCH.deb there
set -eu

binary=$1 version=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

make -s --no-print-directory -C "$source" install BINARY="$binary" DESTDIR="$tree" PREFIX=/usr SYSCONFDIR=/etc STATEDIR=/var/lib UNITDIR=/usr/lib/systemd/system >&2
# redis-tools has commands of these names.
rm "$tree/usr/bin/redis-check-aof" "$tree/usr/bin/redis-check-rdb"
install -D -m 644 "$source/LICENSE" "$tree/usr/share/doc/memkv-server/copyright"
gzip -9nf "$tree/usr/share/man/man1/"*.1
mkdir "$tree/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find etc -type f | sed 's|^|/|' | sort) >"$tree/DEBIAN/conffiles"
arch=$(dpkg --print-architecture)
libc=$(dpkg-query -W -f '${Version}' libc6 2>/dev/null | sed 's/-.*//')
cat >"$tree/DEBIAN/control" <<EOF
Package: memkv-server
Version: $version
Architecture: $arch
Maintainer: the memkv developers <memkv@localhost>
Section: database
Priority: optional
Depends: libc6 (>= ${libc:-2.36}), libgcc-s1, adduser
Suggests: redis-tools
Installed-Size: $(du -sk "$tree" | cut -f1)
Description: Redis drop-in server for real-time machine learning
 memkv speaks Redis's protocol, reads redis.conf, keeps Redis's append-only
 directory and snapshots, uses every core, and tells where the time of a slow
 request went. It can be installed beside redis-server, and take over its
 service (/usr/share/memkv/redis-server.override.conf).
EOF
dpkg-deb -Z"${COMPRESSION:-xz}" --root-owner-group --build "$tree" "$out" >/dev/null
echo "$out/memkv-server_${version}_$arch.deb"
