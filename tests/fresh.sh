#!/bin/sh
# make test-fresh: what a newcomer does, in a root filesystem that has nothing but git and make.
#
#   1. a minimal Debian 12 (mmdebstrap, else debootstrap) in a temporary directory
#   2. git clone of this repository (what is committed, not the working tree) inside it
#   3. make run on a terminal: asked over HTTP, stopped by Ctrl-C
#   4. make test, as CI runs it
#
# Needs root, because of chroot and mounts; the mounts are private to this script's namespace, so that
# they end with it in all cases.  KEEP=1 keeps the filesystem.  FRESH_GOALS="all" runs other goals
# instead of test.
set -eu

if [ "$(id -u)" != 0 ]; then
    echo "test-fresh: must be root (chroot)" >&2
    exit 1
fi
if [ "${LOCKKEEPER_FRESH:-}" != inside ]; then
    LOCKKEEPER_FRESH=inside exec unshare --mount --propagation private "$0" "$@"
fi

top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/lockkeeper-fresh.XXXXXX")
root=$work/root

clean_up() {
    status=$?
    trap - EXIT INT TERM
    for place in proc sys dev/pts dev/shm dev; do
        umount -l "$root/$place" 2>/dev/null || true
    done
    if [ "${KEEP:-}" = 1 ]; then
        echo "test-fresh: kept in $root"
    else
        rm -rf --one-file-system "$work"
    fi
    exit $status
}
trap clean_up EXIT
trap 'exit 130' INT TERM

make_root() {
    # Debian's own archives only, as this machine reaches them.
    sources=$work/debian.sources
    for file in /etc/apt/sources.list.d/debian.sources; do
        [ ! -e "$file" ] || cat "$file" >>"$sources"
    done
    if [ ! -s "$sources" ] && grep -qs '^deb ' /etc/apt/sources.list; then
        grep '^deb ' /etc/apt/sources.list >"$sources"
    fi
    if command -v mmdebstrap >/dev/null 2>&1; then
        if [ -s "$sources" ]; then
            mmdebstrap --quiet --variant=minbase --include=git,make,ca-certificates bookworm "$root" <"$sources"
        else
            mmdebstrap --quiet --variant=minbase --include=git,make,ca-certificates bookworm "$root"
        fi
    elif command -v debootstrap >/dev/null 2>&1; then
        debootstrap --variant=minbase --include=git,make,ca-certificates bookworm "$root"
    else
        echo "test-fresh: install mmdebstrap or debootstrap" >&2
        exit 1
    fi
    [ ! -e /etc/resolv.conf ] || cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/hosts "$root/etc/hosts"
    # How this machine reaches its package archive: proxy settings and the like, certificates it trusts.
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*proxy*; do
        [ ! -e "$file" ] || cp "$file" "$root$file"
    done
}

mount_root() {
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount --rbind /dev "$root/dev"
}

inside_env="PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
            ${http_proxy:+http_proxy=$http_proxy} ${https_proxy:+https_proxy=$https_proxy}"

inside() { # [NAME=VALUE...] command...
    chroot "$root" env -i $inside_env "$@"
}

echo "test-fresh: building a root filesystem in $root"
make_root
mount_root
git clone -q --bare "$top" "$root/srv/lockkeeper.git"

# make run first, in a clone of its own: it must not live off what make test installs or builds.
echo "test-fresh: make run"
inside git clone -q /srv/lockkeeper.git /root/first
"$top/tests/demo/smoke.py" chroot "$root" env -i $inside_env make -C /root/first run

echo "test-fresh: make ${FRESH_GOALS:-test}"
inside git clone -q /srv/lockkeeper.git /root/lockkeeper
if [ -n "${FRESH_GOALS:-}" ]; then
    inside make -C /root/lockkeeper $FRESH_GOALS
else
    inside CI=true ${FUZZ_SECONDS:+FUZZ_SECONDS="$FUZZ_SECONDS"} make -C /root/lockkeeper test
fi
echo "test-fresh: ok"
