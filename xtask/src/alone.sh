# In new network and mount namespaces: what belongs to a namespace is mounted anew, so that nothing of the test stays.
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing 2> /dev/null || true
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/lock
ip link set lo up
exec "$@"
