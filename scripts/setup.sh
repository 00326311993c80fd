#!/usr/bin/env bash
# Sets up what a command needs: a virtual environment with the locked dependencies, and for the tests programs
# from the distribution. Usage: setup.sh run|dev|lint|test|screenshots|vm|fuzz
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:?run, dev, lint, test, screenshots, vm or fuzz}

lack() {
    echo "netvol-exporter: $1" >&2
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

apt_install() {
    command -v apt-get >/dev/null || lack "please install: $* (this is no Debian or Ubuntu)"
    is_root || lack "please install with 'sudo apt-get install $*', or run this as root"
    echo "installing from the distribution: $*" >&2
    # Debian's packages start their services; here only the programs are wanted.
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made=yes
    fi
    local status=0
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } \
        >.build/apt.log 2>&1 || status=$?
    [ -z "$made" ] || rm -f "$policy"
    [ "$status" = 0 ] || { tail -20 .build/apt.log >&2; lack "apt-get could not install $*"; }
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

virtual_environment() {
    local requirements=requirements/$1.txt stamp=.venv/.$1-installed
    # A copied or moved checkout has an environment that points elsewhere.
    [ -x .venv/bin/python ] && [ "$(cat .venv/.place 2>/dev/null)" = "$PWD" ] || rm -rf .venv
    if [ -e "$stamp" ] && cmp -s "$requirements" "$stamp"; then
        return
    fi
    local python
    python=$(find_python) || { apt_install python3 python3-venv; python=$(find_python) || lack "Python 3.11 or newer is needed"; }
    if [ ! -d .venv ]; then
        echo "making the virtual environment .venv" >&2
        "$python" -m venv .venv 2>/dev/null || { rm -rf .venv; apt_install python3-venv; "$python" -m venv .venv; }
        pwd >.venv/.place
    fi
    echo "installing the locked dependencies ($requirements)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r "$requirements"
    if [ "$1" = dev ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    fi
    cp "$requirements" "$stamp"
}

programs() {
    # program:package, where the name of the program tells whether the package is there
    local missing=() pair
    for pair in "$@"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} = 0 ] || apt_install $(printf '%s\n' "${missing[@]}" | sort -u)
}

mkdir -p .build
case $what in
    run) virtual_environment runtime ;;
    dev) virtual_environment dev ;;
    lint)
        virtual_environment dev
        programs promtool:prometheus amtool:prometheus-alertmanager
        ;;
    test)
        virtual_environment dev
        programs dockerd:docker.io prometheus:prometheus promtool:prometheus \
            prometheus-alertmanager:prometheus-alertmanager amtool:prometheus-alertmanager \
            chromium:chromium curl:curl ip:iproute2 iptables:iptables busybox:busybox-static unshare:util-linux du:coreutils \
            find:findutils mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mmdebstrap:mmdebstrap \
            systemd-analyze:systemd setpriv:util-linux \
            zsh:zsh fish:fish pipx:pipx sshd:openssh-server ssh-keygen:openssh-client
        docker compose version >/dev/null 2>&1 || programs docker-compose:docker-compose
        is_root || lack "the tests start a Docker engine of their own, for which they must run as root: sudo make test"
        tests/install/images.sh
        ;;
    screenshots)
        virtual_environment dev
        programs prometheus:prometheus promtool:prometheus chromium:chromium node:nodejs npm:npm pngquant:pngquant
        ;;
    vm)
        virtual_environment dev
        programs qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap mkfs.ext4:e2fsprogs
        is_root || lack "the virtual machine's disk can only be made as root: sudo make vm"
        ;;
    fuzz)
        virtual_environment dev
        virtual_environment fuzz
        ;;
    *) lack "setup.sh run|dev|lint|test|screenshots|vm|fuzz" ;;
esac
