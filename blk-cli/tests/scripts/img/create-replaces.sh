# What the file held before is gone.
qemu-img create -q -f qcow2 a.img 1M
qemu-io -c 'write -P 7 0 64k' a.img >/dev/null
qemu-img create -f raw a.img 64k
qemu-img map --output=json -f raw a.img
