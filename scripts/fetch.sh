#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Fetches what is not a Debian package of this system, from the mirror that apt uses, into a cache:
#   fetch.sh libfdt [DIR]    libfdt's sources; unpacked into DIR
#   fetch.sh toml-test       the cases of the official TOML test suite
#   fetch.sh guests ARCH     Debian's kernels for aarch64, riscv64 or x86_64, a busybox initrd; U-Boot for the last two, and
#                            memtest86+ for the last
#   fetch.sh all             all of it
# What the cache holds is not fetched again. BULKHEAD_CACHE is where it is, BULKHEAD_MIRROR another mirror.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

dtc=device-tree-compiler_1.7.2.orig.tar.xz
dtc_sha256=92d8ca769805ae1f176204230438fe52808f4e1c7944053c9eec0e649b237539
guest_suite=trixie
toml_test=$cache/toml-test

# A file of the mirror's pool, checked.
pool_file() { # path sha256
    file=$cache/sources/${1##*/}
    if [ -e "$file" ]; then return; fi
    mkdir -p "$cache/sources"
    say "fetching ${1##*/}"
    from=$(mirror)
    curl -fsSL --retry 3 -o "$file.part" "$from/$1" || die "could not fetch $1"
    if ! echo "$2  $file.part" | sha256sum -c --quiet - >&2; then
        rm -f "$file.part"
        die "$1 is not what it should be (sha256)"
    fi
    mv "$file.part" "$file"
}

# Guests come from a Debian release that is not the host's: a private apt root resolves and checks them, and the system's
# own packages never hear of it. One root for each of Debian's architectures.
apt_root() { # debian-architecture
    root=$cache/apt/$1
    case " ${apt_ready:-} " in *" $1 "*) return 0 ;; esac
    apt_ready="${apt_ready:-} $1"
    from=$(mirror)
    keys=$(keyring)
    mkdir -p "$root/state/lists/partial" "$root/cache/archives/partial" "$root/none"
    : >"$root/state/status"
    echo "deb [signed-by=$keys] $from $guest_suite main" >"$root/sources.list"
    cat >"$root/apt.conf" <<EOF
#clear APT::Architectures;
#clear APT::Update;
#clear DPkg::Post-Invoke;
APT::Architecture "$1";
APT::Architectures { "$1"; };
APT::Default-Release "";
APT::Sandbox::User "";
Acquire::Languages "none";
Dir::State "$root/state";
Dir::State::status "$root/state/status";
Dir::Cache "$root/cache";
Dir::Etc::sourcelist "$root/sources.list";
Dir::Etc::sourceparts "$root/none";
Dir::Etc::preferences "$root/none/preferences";
Dir::Etc::preferencesparts "$root/none";
EOF
    say "reading the package lists of Debian $guest_suite for $1"
    apt-get -c "$root/apt.conf" -qq update || die "apt could not read $guest_suite from $from"
}

# Downloads one package into the work directory and prints its file name. After apt_root.
download() { # package directory
    (cd "$2" && apt-get -c "$root/apt.conf" -qq download "$1" >&2) || die "could not fetch the package $1"
    for file in "$2/$1"_*.deb; do echo "$file"; done
}

# The meta package names the current kernel.
kernel() { # debian-architecture meta-package output-name
    apt_root "$1"
    shift
    package=$(apt-cache -c "$root/apt.conf" depends "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [ -n "$package" ] || die "$1 names no kernel"
    say "fetching $package"
    deb=$(download "$package" "$work")
    dpkg-deb --fsys-tarfile "$deb" | tar -xOf - --wildcards './boot/vmlinu[xz]-*' >"$guests/debian/$2.part"
    [ -s "$guests/debian/$2.part" ] || die "$package holds no kernel"
    rm -f "$deb"
    mv "$guests/debian/$2.part" "$guests/debian/$2"
    echo "$2 $package" >>"$guests/versions"
}

# One file of a package.
take() { # package path-in-it output-name
    say "fetching $1"
    deb=$(download "$1" "$work")
    mkdir -p "$guests/${3%/*}"
    dpkg-deb --fsys-tarfile "$deb" | tar -xOf - "./$2" >"$guests/$3.part"
    [ -s "$guests/$3.part" ] || die "$1 holds no $2"
    rm -f "$deb"
    mv "$guests/$3.part" "$guests/$3"
}

u_boot() { # debian-architecture board
    apt_root "$1"
    take u-boot-qemu "usr/lib/u-boot/$2/u-boot.bin" u-boot/u-boot.bin
}

# U-Boot proper, as an ELF file that begins with the few instructions it needs before it.
u_boot_elf() {
    clang-19 --target=x86_64-none-elf -Wa,-I"$guests/u-boot" -c scripts/u-boot-x86_64.S -o "$work/u-boot.o"
    ld.lld-19 -N -Ttext=0x110f000 -o "$work/u-boot.elf" "$work/u-boot.o"
    mv "$work/u-boot.elf" "$guests/u-boot/u-boot.elf"
}

fetch_libfdt() { # [directory]
    pool_file pool/main/d/device-tree-compiler/$dtc $dtc_sha256
    [ -n "${1:-}" ] || return 0
    mkdir -p "$1"
    tar -xJf "$cache/sources/$dtc" -C "$1" --strip-components=2 --wildcards '*/libfdt/*.[ch]'
}

fetch_toml_test() {
    if [ -d "$toml_test/valid" ]; then return; fi
    apt_root arm64
    say "fetching the TOML test suite"
    deb=$(download golang-github-burntsushi-toml-dev "$work")
    dpkg-deb -x "$deb" "$work/toml"
    mkdir -p "$toml_test"
    cases=$work/toml/usr/share/gocode/src/github.com/BurntSushi/toml/internal/toml-test/tests
    cp -R "$cases/invalid" "$toml_test/" && cp -R "$cases/valid" "$toml_test/valid.part"
    mv "$toml_test/valid.part" "$toml_test/valid"
}

fetch_guests() { # architecture
    guests=$cache/guests/$1
    mkdir -p "$guests/debian"
    case $1 in
    aarch64)
        debian=arm64
        [ -e "$guests/debian/Image-cloud" ] || kernel $debian linux-image-cloud-arm64 Image-cloud
        [ -e "$guests/debian/Image-rt" ] || kernel $debian linux-image-rt-arm64 Image-rt
        ;;
    riscv64)
        debian=riscv64
        [ -e "$guests/u-boot/u-boot.bin" ] || u_boot $debian qemu-riscv64_smode
        ;;
    x86_64)
        debian=amd64
        [ -e "$guests/debian/Image-cloud" ] || kernel $debian linux-image-cloud-amd64 Image-cloud
        [ -e "$guests/debian/Image-rt" ] || kernel $debian linux-image-rt-amd64 Image-rt
        if [ ! -e "$guests/memtest86+/memtest86+x64.bin" ]; then
            apt_root $debian
            take memtest86+ boot/memtest86+x64.bin memtest86+/memtest86+x64.bin
        fi
        [ -e "$guests/u-boot/u-boot.bin" ] || u_boot $debian qemu-x86_64
        [ "$guests/u-boot/u-boot.elf" -nt scripts/u-boot-x86_64.S ] || u_boot_elf
        ;;
    *) die "there are no guests for '$1'" ;;
    esac
    [ -e "$guests/debian/Image" ] || kernel $debian linux-image-$debian Image
    if [ ! -e "$guests/busybox" ]; then
        apt_root $debian
        say "fetching busybox-static"
        deb=$(download busybox-static "$work")
        dpkg-deb -x "$deb" "$work/busybox"
        for file in "$work/busybox/usr/bin/busybox" "$work/busybox/bin/busybox"; do
            if [ -e "$file" ]; then cp "$file" "$guests/busybox.part" && break; fi
        done
        mv "$guests/busybox.part" "$guests/busybox"
    fi
    made_of=$(cat "$guests/busybox" scripts/mkinitrd.py scripts/guest/* | sha256sum)
    if [ ! -e "$guests/debian/initrd.gz" ] || [ "$(cat "$guests/initrd.made-of" 2>/dev/null)" != "$made_of" ]; then
        say "packing the guests' initrd"
        /usr/bin/python3 scripts/mkinitrd.py "$guests/busybox" "$guests/debian/initrd.gz"
        echo "$made_of" >"$guests/initrd.made-of"
    fi
}

mkdir -p "$cache"
# One at a time: two builds may share the cache.
exec 9>"$cache/.lock"
flock 9
work=$cache/work.$$
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

case ${1:-} in
libfdt) fetch_libfdt "${2:-}" ;;
toml-test) fetch_toml_test ;;
guests) fetch_guests "${2:-}" ;;
all) fetch_libfdt && fetch_toml_test && fetch_guests aarch64 && fetch_guests riscv64 && fetch_guests x86_64 ;;
*) die "fetch.sh libfdt [DIR] | toml-test | guests ARCH | all" ;;
esac
