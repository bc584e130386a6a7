# Compressed clusters count as fragmented.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 1M' a.qcow2 >/dev/null
qemu-img convert -c -O qcow2 a.qcow2 b.qcow2
qemu-img check b.qcow2
qemu-img check --output=json b.qcow2
