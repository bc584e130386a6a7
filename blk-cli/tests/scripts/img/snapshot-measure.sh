# What a copy of a snapshot takes.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 1M' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-io -c 'write -P 2 8M 4M' a.qcow2 >/dev/null
qemu-img measure -O qcow2 a.qcow2
qemu-img measure -O qcow2 -l one a.qcow2
qemu-img measure -O raw -l snapshot.id=1 a.qcow2
qemu-img measure -O raw -l none a.qcow2
echo "exit $?"
