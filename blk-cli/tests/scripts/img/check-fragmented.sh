# Clusters that lie in another order.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write 512k 64k' -c 'write 128k 64k' -c 'write 0 128k' a.qcow2 >/dev/null
qemu-img check a.qcow2
