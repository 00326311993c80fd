#!/usr/bin/env bash
# Makes what tests/vm/run.sh boots, if it is not there yet: Debian 12 with its own kernel, a Docker engine, the file
# servers and tools that the tests use, and the locked Python packages. Needs root, so that the files get their owners.
set -euo pipefail
cd "$(dirname "$0")/../.."

vm=.build/vm
root=$vm/root
suite=bookworm
packages=(
    linux-image-cloud-amd64 initramfs-tools systemd-sysv udev dbus kmod iproute2
    docker.io busybox-static python3
    xfsprogs e2fsprogs quota cryptsetup-bin lvm2
    nfs-kernel-server nfs-common samba cifs-utils
)

stamp=$(cat "$0" requirements/dev.txt | sha256sum)
if [ "$(cat $vm/stamp 2>/dev/null)" = "$stamp" ]; then
    exit
fi
mkdir -p $vm
rm -rf $vm/stamp $root
echo "making the virtual machine's disk; this takes some minutes" >&2

# The mirror is the one that this machine uses.
apt-get update -q >$vm/image.log
apt-get indextargets --format "deb \$(REPO_URI) \$(RELEASE) \$(COMPONENT)" "Created-By: Packages" "Origin: Debian" |
    grep -E " $suite(-updates|-security)? main\$" | sort -u >$vm/sources.list ||
    { echo "netvol-exporter: this machine's apt has no sources for Debian 12 ($suite)" >&2; exit 1; }
mmdebstrap --variant=apt --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --include="$(IFS=,; echo "${packages[*]}")" $suite $root $vm/sources.list >>$vm/image.log 2>&1 ||
    { tail -20 $vm/image.log >&2; exit 1; }

.venv/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-compile \
    --target $root/opt/python --python-version 3.11 --no-deps --require-hashes -r requirements/dev.txt
chroot $root python3 -m compileall -q /opt/python /usr/lib/python3.11 >>$vm/image.log || true  # one has templates in it

echo vm >$root/etc/hostname
echo "127.0.0.1 localhost vm" >$root/etc/hosts
# The system starts this instead of everything else.
cat >$root/etc/systemd/system/tests.service <<'END'
[Unit]
Description=The tests on the disk with the serial number tree
Requires=basic.target
After=basic.target

[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
WorkingDirectory=/srv
ExecStartPre=udevadm settle
ExecStartPre=tar --no-same-owner -xf /dev/disk/by-id/virtio-tree
ExecStart=bash tests/vm/guest.sh
END

cp $root/boot/vmlinuz-* $vm/kernel
cp $root/boot/initrd.img-* $vm/initrd
rm -f $vm/root.img
mkfs.ext4 -q -d $root $vm/root.img 4G
rm -rf $root
echo "$stamp" >$vm/stamp
