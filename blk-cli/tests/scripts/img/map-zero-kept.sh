# A zero cluster that keeps its place.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write 0 192k' -c 'write -z 64k 64k' a.qcow2 >/dev/null
qemu-img map a.qcow2
qemu-img map --output=json a.qcow2
