#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that Bulkhead is built and tested with (scripts/packages.txt). Does nothing when they are
# there. Works as root or through sudo.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# QEMU 7.2 of Debian 12 itself is too old: whatever the suite, version 10 is wanted.
recent_enough() {
    case $1 in
    qemu-system-*) dpkg --compare-versions "$(dpkg-query -W -f '${Version}' "$1")" ge 1:10 ;;
    esac
}

missing= backports=
while read -r package suite; do
    case $package in '' | '#'*) continue ;; esac
    if installed "$package" && recent_enough "$package"; then continue; fi
    case $suite in
    backports) backports="$backports $package" ;;
    *) missing="$missing $package" ;;
    esac
done <scripts/packages.txt
[ -n "$missing$backports" ] || exit 0

command -v apt-get >/dev/null || die "this needs Debian 12 or later: there is no apt-get, and these are missing:$missing$backports"
say "installing Debian packages:$missing$backports"
as_root apt-get -q update
export DEBIAN_FRONTEND=noninteractive
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
fi
[ -n "$backports" ] || exit 0

# The release has it already, or the backports are there, or they are added.
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
for package in $backports; do
    candidate=$(apt-cache policy "$package" | sed -n 's/^  Candidate: //p')
    if dpkg --compare-versions "$candidate" ge 1:10; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "$package"
        continue
    fi
    if ! apt-get indextargets --format '$(RELEASE)' 'Created-By: Packages' | grep -qx "$suite-backports"; then
        list=/etc/apt/sources.list.d/bulkhead-backports.list
        say "adding $suite-backports to apt ($list)"
        echo "deb [signed-by=$(keyring)] $(mirror) $suite-backports main" | as_root tee "$list" >/dev/null
        as_root apt-get -q update
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends -t "$suite-backports" "$package"
done
