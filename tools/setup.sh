#!/bin/sh
# Sets up what a tier of klpkit's tests needs: Debian packages, and the virtual environment in .venv.
#
#   tools/setup.sh fast|kernel|boot|test
#
# Each tier includes the ones before it.  Repeating it costs next to nothing: apt runs only when a package is
# missing, pip only when pyproject.toml has changed.
set -eu
cd "$(dirname "$0")/.."

fast='gcc make python3-venv binutils'
kernel='flex bison bc libelf-dev libssl-dev dwarves cpio kmod rsync xz-utils gcc-12 libc6-dev'
boot='qemu-system-x86 busybox-static'
# Every compiler that the tests know: without one its tests are skipped.
compilers='g++ gcc-11 g++-11 clang-16 clang-19 lld-16 lld-19 ccache zstd'
# A file system that is a module of the stock kernel.
disks='xfsprogs'

say() { printf 'setup: %s\n' "$*" >&2; }

case "${1:-fast}" in
    fast) wanted=$fast ;;
    kernel) wanted="$fast $kernel" ;;
    boot) wanted="$fast $kernel $boot" ;;
    test) wanted="$fast $kernel $boot $compilers $disks" ;;
    *) say "unknown tier '$1'; choose fast, kernel, boot or test"; exit 2 ;;
esac

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
    missing=
    for package in $wanted; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        say "these packages are missing; please have root run: apt-get install$missing"
        return 0
    fi
    say "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >&2
    # shellcheck disable=SC2086 # a list of package names
    apt-get install -q -y --no-install-recommends $missing >&2
}

# Debian's own interpreter first: one from elsewhere may lack its development files or be too old.
find_python() {
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    say 'no Python 3.11 or newer with the venv module was found'
    exit 3
}

make_environment() {
    stamp=.venv/.klpkit-setup
    if [ -x .venv/bin/python ] && cmp -s pyproject.toml "$stamp"; then
        return 0
    fi
    say 'making the virtual environment in .venv'
    if [ ! -x .venv/bin/python ] || [ ! -x .venv/bin/pip ]; then
        python=$(find_python)
        "$python" -m venv --clear .venv
    fi
    .venv/bin/pip install -q --disable-pip-version-check -e '.[dev]' >&2
    cp pyproject.toml "$stamp.part"
    mv "$stamp.part" "$stamp"
}

install_packages
make_environment
