# Compressed clusters share host clusters, and snapshots share both.
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-io -c 'write -c -P 1 0 64k' -c 'write -c -P 2 64k 64k' -c 'write -c -P 3 128k 64k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-io -c 'write -P 9 64k 64k' a.qcow2 >/dev/null
qemu-img snapshot -c two a.qcow2
qemu-img snapshot -d one a.qcow2
qemu-io -c 'read -P 1 0 64k' -c 'read -P 9 64k 64k' -c 'read -P 3 128k 64k' a.qcow2 | grep -v ops
qemu-img check a.qcow2
qemu-img snapshot -d two a.qcow2
qemu-io -c 'read -P 1 0 64k' -c 'read -P 9 64k 64k' -c 'read -P 3 128k 64k' a.qcow2 | grep -v ops
qemu-img check a.qcow2
