#!/usr/bin/env bash
# Runs pytest in a virtual machine with Debian's kernel and ends with its exit code. Arguments are pytest's.
set -euo pipefail
cd "$(dirname "$0")/../.."

vm=.build/vm
timeout_seconds=2400
disks=(xfs ext4 plain luks lvm)  # empty ones for the tests

tests/vm/image.sh

: >$vm/arguments
[ $# = 0 ] || printf '%s\0' "$@" >$vm/arguments
tar --exclude=__pycache__ -cf $vm/tree.img pyproject.toml exporter tests -C $vm arguments

# /dev/kvm alone doesn't tell: a hypervisor without hardware support can't run a kernel that doesn't know of it.
if [ -w /dev/kvm ] && grep -qwE "vmx|svm" /proc/cpuinfo; then
    machine=(-accel kvm -cpu host)
else
    echo "no usable /dev/kvm: the virtual machine is emulated and slow" >&2
    machine=(-accel tcg,thread=multi -cpu max)
fi
for disk in root tree "${disks[@]}"; do
    [ -e "$vm/$disk.img" ] || truncate -s 2G "$vm/$disk.img"
    machine+=(-drive "if=none,id=$disk,format=raw,cache=unsafe,file=$vm/$disk.img")
    machine+=(-device "virtio-blk-pci,drive=$disk,serial=$disk")
done

# First serial line: the kernel's; second: what the tests print; third: their exit code.
rm -f $vm/status
timeout --foreground $timeout_seconds qemu-system-x86_64 "${machine[@]}" -smp 2 -m 4G -nic none -snapshot -no-reboot \
    -kernel $vm/kernel -initrd $vm/initrd \
    -append "root=/dev/vda rw console=ttyS0 panic=-1 apparmor=0 systemd.show_status=0 systemd.unit=tests.service" \
    -display none -monitor none -serial file:$vm/console.log -serial stdio -serial file:$vm/status </dev/null || true
status=$(tr -dc 0-9 2>/dev/null <$vm/status || true)  # a terminal ends its lines with two characters
if [ -z "$status" ]; then
    tail -20 $vm/console.log >&2
    echo "netvol-exporter: the virtual machine ended without a result, or took more than $timeout_seconds s" >&2
    exit 1
fi
exit "$status"
