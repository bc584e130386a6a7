# The size of the disk goes with a snapshot.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 1M' a.qcow2 >/dev/null
qemu-img snapshot -c small a.qcow2
qemu-img resize -q a.qcow2 3M
qemu-io -c 'write -P 2 2M 1M' a.qcow2 >/dev/null
qemu-img snapshot -c large a.qcow2
qemu-img snapshot -a small a.qcow2
qemu-img info a.qcow2 | grep virtual
qemu-io -c 'read -P 1 0 1M' a.qcow2 | grep -v ops
qemu-img check a.qcow2
qemu-img resize -q a.qcow2 2M
qemu-io -c 'read -P 0 1M 1M' a.qcow2 | grep -v ops
qemu-img snapshot -a large a.qcow2
qemu-img info a.qcow2 | grep virtual
qemu-io -c 'read -P 2 2M 1M' -c 'read -P 0 1M 1M' a.qcow2 | grep -v ops
qemu-img check a.qcow2
