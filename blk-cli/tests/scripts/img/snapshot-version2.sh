# Version 2 has no dirty bit and no zero clusters.
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=4k a.qcow2 1M
qemu-io -c 'write -P 1 0 100k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-io -c 'write -P 2 50k 100k' -c 'write -z 0 8k' a.qcow2 >/dev/null
qemu-img snapshot -c two a.qcow2
qemu-img snapshot -a one a.qcow2
qemu-io -c 'read -P 1 0 100k' a.qcow2 | grep -v ops
qemu-img check -q a.qcow2; echo "check $?"
qemu-img snapshot -d one a.qcow2
qemu-img snapshot -a two a.qcow2
qemu-io -c 'read -P 0 0 8k' -c 'read -P 2 50k 100k' a.qcow2 | grep -v ops
qemu-img check -q a.qcow2; echo "check $?"
