# An image whose metadata were there from the start.
qemu-img create -q -f qcow2 -o preallocation=metadata,cluster_size=4k a.qcow2 256k
qemu-img snapshot -c empty a.qcow2
qemu-io -c 'write -P 1 0 100k' a.qcow2 >/dev/null
qemu-img snapshot -c some a.qcow2
qemu-img snapshot -a empty a.qcow2
qemu-io -c 'read -P 0 0 256k' a.qcow2 | grep -v ops
qemu-img snapshot -d empty a.qcow2
qemu-img snapshot -a some a.qcow2
qemu-io -c 'read -P 1 0 100k' -c 'read -P 0 100k 156k' a.qcow2 | grep -v ops
qemu-img check a.qcow2
