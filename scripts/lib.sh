# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Shared by the scripts that set things up.

cache=${BULKHEAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bulkhead}

say() {
    echo "bulkhead: $*" >&2
}

die() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# The Debian mirror that apt uses for main, or BULKHEAD_MIRROR.
mirror() {
    if [ -n "${BULKHEAD_MIRROR:-}" ]; then
        echo "${BULKHEAD_MIRROR%/}"
        return
    fi
    # shellcheck disable=SC1091
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # apt's own variables
    uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v release="$release" '$2 == release && $3 == "main" { print $1; exit }')
    [ -n "$uri" ] || die "apt knows no Debian mirror for '$release': set BULKHEAD_MIRROR to one"
    echo "${uri%/}"
}

keyring() {
    for file in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        if [ -e "$file" ]; then
            echo "$file"
            return
        fi
    done
    die "Debian's archive keyring is missing (package debian-archive-keyring)"
}

# What a chatty command says is shown only if it fails.
quietly() {
    mkdir -p "$cache"
    if ! "$@" >"$cache/setup.log" 2>&1 </dev/null; then
        cat "$cache/setup.log" >&2
        die "this failed: $*"
    fi
}

# From the system's own suites, or from another one: install_packages [-t SUITE] PACKAGE...
install_packages() {
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || die "root or sudo is needed to install packages: $*"
    if [ -z "${packages_read:-}" ]; then
        quietly as_root apt-get -q update
        packages_read=1
    fi
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install -y \
        --no-install-recommends "$@"
}
