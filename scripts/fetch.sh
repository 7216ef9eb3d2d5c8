#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches what is not a Debian package of this system, from the mirror that apt uses, into a cache:
#   fetch.sh libfdt DIR    libfdt's sources, unpacked into DIR
#   fetch.sh toml-test     the cases of the official TOML test suite
#   fetch.sh guests        Debian's kernels for arm64 and a busybox initrd
#   fetch.sh all           all of it
# What the cache holds is not fetched again.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

dtc=device-tree-compiler_1.7.2.orig.tar.xz
dtc_sha256=92d8ca769805ae1f176204230438fe52808f4e1c7944053c9eec0e649b237539

# A file of the mirror's pool, checked.
pool_file() { # path sha256
    file=$cache/sources/${1##*/}
    [ -e "$file" ] && return
    mkdir -p "$cache/sources"
    say "fetching ${1##*/}"
    part=$file.$$
    curl -fsSL --retry 3 -o "$part" "$(mirror)/$1" || die "could not fetch $1"
    echo "$2  $part" | sha256sum -c --quiet - >&2 || {
        rm -f "$part"
        die "$1 is not what it should be (sha256)"
    }
    mv "$part" "$file"
}

libfdt() { # directory
    pool_file pool/main/d/device-tree-compiler/$dtc $dtc_sha256
    [ -n "${1:-}" ] || return 0
    mkdir -p "$1"
    tar -xJf "$cache/sources/$dtc" -C "$1" --strip-components=2 --wildcards '*/libfdt/*.[ch]'
}

case ${1:-} in
libfdt) libfdt "${2:-}" ;;
all) libfdt ;;
*) die "fetch.sh: libfdt [DIR], toml-test, guests or all" ;;
esac
