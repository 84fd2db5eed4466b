# In new network and mount namespaces: the checkout, the toolchain and the packages that are at hand, where a user can reach
# them who owns nothing but a target folder; and of the kernel's programs the stub.
set -e
tree=$1 rust=$2 cargo=$3 target=$4 user=$5
shift 5
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/tree /mnt/rust /mnt/cargo /mnt/home
mount --rbind "$tree" /mnt/tree
mount --bind "$rust" /mnt/rust
mkdir -p "$target/cargo" /mnt/tree/target/bpf
mount -t tmpfs tmpfs /mnt/tree/target/bpf
# Some packages' files are their owner's alone.
cp --recursive --update "$cargo/registry" "$target/cargo/"
[ ! -f "$cargo/config.toml" ] || cp "$cargo/config.toml" "$target/cargo/"
chown --recursive "$user:$user" "$target/cargo"
chown "$user:$user" "$target" /mnt/home
mount --bind "$target/cargo" /mnt/cargo
cd /mnt/tree
exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --inh-caps=-all -- env \
    HOME=/mnt/home CARGO_HOME=/mnt/cargo PATH=/mnt/rust/bin:/usr/bin:/bin \
    CARGO_TARGET_DIR="/mnt/tree/${target#"$tree"/}" CARGO_NET_OFFLINE=true "$@"
