#!/bin/busybox sh
# First program of a guest: mounts the host's root below an overlay and goes on as main.sh in it.
/bin/busybox mkdir -p /proc /sys /dev /host /top /newroot
/bin/busybox --install -s /bin
fail() { echo "guest: $*"; poweroff -f; }
mount -t proc proc /proc && mount -t sysfs sys /sys && mount -t devtmpfs dev /dev || fail "no /proc, /sys or /dev"
for module in virtio_pci 9pnet_virtio 9p overlay; do
    modprobe "$module" || fail "no module $module"
done
share() { mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2" || fail "no 9p share $1"; }
share root /host ro,cache=loose
mount -t tmpfs -o size=75% top /top && mkdir /top/upper /top/work
mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work overlay /newroot || fail "no overlay"
mkdir -p /newroot/lib/modules /newroot/out
share modules /newroot/lib/modules ro,cache=loose
share out /newroot/out rw,cache=none
if grep -q heap /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag; then
    mkdir -p /newroot/heap
    share heap /newroot/heap rw,cache=none
fi
for folder in proc sys dev; do mount --move "/$folder" "/newroot/$folder"; done
cp /main.sh /newroot/guest-main
exec switch_root /newroot /bin/bash /guest-main
