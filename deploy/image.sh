#!/bin/sh
# Builds the image from this tree (make image), reproducibly: same sources, same base, same id.
#
#   deploy/image.sh [IMAGE]      needs podman;  BASE=IMAGE builds on another image of Debian 12
#
# ARCH=arm64 builds for another architecture, on a base of that architecture, as IMAGE:arm64; the
# kernel must run its programs (qemu-user-static).
set -eu
cd "$(dirname "$0")/.."
image=${1:-localhost/lockkeeper${ARCH:+:$ARCH}}
base=${BASE:-localhost/lockkeeper-base${ARCH:+:$ARCH}}

if [ -z "${BASE:-}" ] && ! podman image exists "$base"; then
    echo "image: making $base first, once"
    deploy/base.sh "$base"
fi
version=$(sed -n 's/^VERSION := //p' Makefile)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# The user's own hard limit: more than that may not be given to the build's containers.
files=$(ulimit -Hn)
[ "$files" != unlimited ] || files=1048576
podman build --quiet --ulimit "nofile=$files:$files" --network host --timestamp 0 --layers=false \
    ${ARCH:+--platform "linux/$ARCH"} \
    --build-arg BASE="$base" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    -t "$image" -f deploy/Containerfile .
