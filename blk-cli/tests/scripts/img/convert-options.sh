# To a qcow2 image with small clusters.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img convert -O qcow2 -o cluster_size=4k a.qcow2 b.qcow2
qemu-img check b.qcow2
qemu-img map b.qcow2
qemu-img convert -O qcow2 -o compat=0.10,cluster_size=2M a.qcow2 c.qcow2
qemu-img check c.qcow2
qemu-img map c.qcow2
