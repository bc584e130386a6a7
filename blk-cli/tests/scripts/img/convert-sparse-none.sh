# Nothing is left out.
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-io -c 'write -P 1 0 128k' a.qcow2 >/dev/null
qemu-img convert -O qcow2 -S 0 a.qcow2 b.qcow2
qemu-img check b.qcow2
qemu-img map --output=json b.qcow2
qemu-img convert -O raw -S 0 a.qcow2 b.raw
qemu-img map --output=json -f raw b.raw
