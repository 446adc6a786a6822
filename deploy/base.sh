#!/bin/sh
# Makes localhost/lockkeeper-base: Debian 12 with what the build needs, from Debian's own archive, so
# that building the image asks no registry.
#
#   deploy/base.sh [IMAGE]     needs mmdebstrap, and podman; as root, or rootless with subordinate ids
#
# ARCH=arm64 makes it for another architecture (the kernel must run its programs: qemu-user-static).
# TO=FILE.tar only writes the root filesystem.
set -eu
cd "$(dirname "$0")/.."
arch=${ARCH:-$(dpkg --print-architecture)}
image=${1:-localhost/lockkeeper-base${ARCH:+:$ARCH}}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
tar=${TO:-$work/base.tar}
packages=$(.ci/deps list run | tr ' ' ',')
mmdebstrap --quiet --variant=minbase --architectures="$arch" --include="$packages" bookworm "$tar"
[ -n "${TO:-}" ] || podman import --quiet --arch "$arch" "$tar" "$image"
