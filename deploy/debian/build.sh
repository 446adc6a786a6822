#!/bin/sh
# Makes a Debian package of a built binary (make deb): deploy/debian/build.sh BINARY DIRECTORY
#
# The same sources give the same file: its times are those of the last commit.
set -eu
cd "$(dirname "$0")/../.."
binary=$1
out=$2
version=$(sed -n 's/^VERSION := //p' Makefile)
arch=$(dpkg --print-architecture)
maintainer='Lockkeeper developers <lockkeeper@localhost>'
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1700000000)}
export SOURCE_DATE_EPOCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$work"
root=$work/root
doc=$root/usr/share/doc/lockkeeper
install -d "$root/DEBIAN" "$root/etc/default" "$root/etc/lockkeeper/policies" "$doc"
install -Dm755 "$binary" "$root/usr/bin/lockkeeper"
strip --strip-unneeded "$root/usr/bin/lockkeeper"
install -Dm644 deploy/systemd/lockkeeper.service "$root/lib/systemd/system/lockkeeper.service"
install -Dm644 deploy/systemd/lockkeeper.socket "$root/lib/systemd/system/lockkeeper.socket"
install -Dm644 deploy/completion/lockkeeper.bash \
    "$root/usr/share/bash-completion/completions/lockkeeper"
install -Dm644 deploy/man/lockkeeper.8 "$root/usr/share/man/man8/lockkeeper.8"
gzip -9n "$root/usr/share/man/man8/lockkeeper.8"
install -m644 deploy/debian/policy.yaml "$root/etc/lockkeeper/policies/policy.yaml"
# Passwords may stand there; systemd reads it as root.
install -m640 /dev/null "$root/etc/default/lockkeeper"
echo '# REDIS_URL=redis://127.0.0.1:6379/0' >"$root/etc/default/lockkeeper"
cat >"$doc/copyright" <<'TXT'
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: lockkeeper

Files: *
Copyright: 2026 Lockkeeper developers
License: Apache-2.0
 Licensed under the Apache License, Version 2.0.  Its text is in
 /usr/share/common-licenses/Apache-2.0.
TXT
printf 'lockkeeper (%s) unstable; urgency=medium\n\n  * What has changed is in the history of the sources.\n\n -- %s  %s\n' \
    "$version" "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$doc/changelog.gz"
install -m644 README.md "$doc/README.md"
cp -R policies "$doc/policies"
find "$doc/policies" -type d -exec chmod 755 {} + -o -type f -exec chmod 644 {} +

# Which libraries it needs, in which versions, is read from the binary.
mkdir -p "$work/shlibs/debian"
printf 'Source: lockkeeper\n\nPackage: lockkeeper\nArchitecture: any\n' >"$work/shlibs/debian/control"
depends=$(cd "$work/shlibs" && dpkg-shlibdeps -O "$root/usr/bin/lockkeeper" 2>/dev/null |
    sed -n 's/^shlibs:Depends=//p')
if [ -z "$depends" ]; then
    echo "deb: dpkg-shlibdeps (package dpkg-dev) is needed to find out what the program depends on" >&2
    exit 1
fi

cat >"$root/DEBIAN/control" <<TXT
Package: lockkeeper
Version: $version
Architecture: $arch
Maintainer: $maintainer
Section: httpd
Priority: optional
Depends: $depends
Suggests: redis-server
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Description: rate limits and locks in front of an HTTP service
 A reverse proxy that stands in front of a service and enforces limits which
 hold across all its replicas, because their state is in Redis.  The rules
 are YAML files.
TXT
printf '%s\n' /etc/default/lockkeeper /etc/lockkeeper/policies/policy.yaml >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/postinst" <<'TXT'
#!/bin/sh
# The service is not started: the policies must name the service first.
set -e
if [ "$1" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    # An upgrade restarts what runs.
    [ -z "$2" ] || systemctl try-restart lockkeeper.service || true
fi
TXT
cat >"$root/DEBIAN/prerm" <<'TXT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now lockkeeper.socket lockkeeper.service || true
fi
TXT
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/lockkeeper_${version}_$arch.deb"
