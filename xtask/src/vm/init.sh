#!/bin/busybox sh
# The first process of the virtual machine. `cargo xtask vm` reads the lines that begin with `vm:`.
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tracefs tracefs /sys/kernel/tracing
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /tmp
mount -t tmpfs tmpfs /dev/shm
chmod 1777 /tmp /dev/shm
ip link set lo up
for module in /modules/*; do
    insmod "$module" || echo "vm: cannot load $module"
done
# From here on the console has warnings with their stacks, which `quiet` keeps from it.
dmesg -n 7
read -r uptime _ </proc/uptime
echo "vm: Linux $(uname -r) is up after $uptime s"
sh /suite.sh
echo "vm: the suite ended with $?"
poweroff -f
