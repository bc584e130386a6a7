# A whole chain becomes one image.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write -P 1 0 64k' -c 'write -P 1 640k 64k' a.raw >/dev/null
qemu-img create -q -f qcow2 -b a.raw -F raw b.qcow2 2M
qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2 3M
qemu-io -c 'write -P 2 128k 64k' b.qcow2 >/dev/null
qemu-io -c 'write -P 3 2560k 64k' -c 'write -z 0 64k' c.qcow2 >/dev/null
qemu-img convert -O qcow2 c.qcow2 d.qcow2
qemu-img compare c.qcow2 d.qcow2
qemu-img map --output=json d.qcow2
