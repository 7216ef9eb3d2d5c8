#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# setup.sh ARCH|all: installs the Debian packages that Bulkhead is built and tested with for that architecture, or all of
# them (scripts/packages.txt). Does nothing when they are there. Works as root or through sudo.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# QEMU 7.2 and OpenSBI 1.1 of Debian 12 itself are too old, whatever the suite: is this version of the package enough?
recent_enough() { # package version
    case $1 in
    qemu-system-*) dpkg --compare-versions "$2" ge 1:10 ;;
    opensbi) dpkg --compare-versions "$2" ge 1.5 ;;
    esac
}

for_arch=${1:-all} missing= backports=
while read -r package suite only; do
    case $package in '' | '#'*) continue ;; esac
    case $for_arch in all | "${only:-$for_arch}") ;; *) continue ;; esac
    if installed "$package" && recent_enough "$package" "$(dpkg-query -W -f '${Version}' "$package")"; then continue; fi
    case $suite in
    backports) backports="$backports $package" ;;
    *) missing="$missing $package" ;;
    esac
done <scripts/packages.txt
[ -n "$missing$backports" ] || exit 0

command -v apt-get >/dev/null || die "this needs Debian 12 or later: there is no apt-get, and these are missing:$missing$backports"
say "installing Debian packages:$missing$backports"
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # a list of words
    install_packages $missing
fi
[ -n "$backports" ] || exit 0

# The release has it already, or the backports are there, or they are added.
# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")-backports
for package in $backports; do
    candidate=$(apt-cache policy "$package" | sed -n 's/^  Candidate: //p')
    if recent_enough "$package" "${candidate:-0}"; then
        install_packages "$package"
        continue
    fi
    # shellcheck disable=SC2016 # apt's own variable
    if ! apt-get indextargets --format '$(RELEASE)' 'Created-By: Packages' | grep -qx "$suite"; then
        list=/etc/apt/sources.list.d/bulkhead-backports.list
        keys=$(keyring)
        from=$(mirror)
        say "adding $suite to apt ($list)"
        echo "deb [signed-by=$keys] $from $suite main" | as_root tee "$list" >/dev/null
        packages_read=
    fi
    install_packages -t "$suite" "$package"
done
