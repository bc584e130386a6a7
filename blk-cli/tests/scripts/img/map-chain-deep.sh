# Three disks, the lowest one shorter.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write 0 64k' -c 'write 640k 64k' a.raw >/dev/null
qemu-img create -q -f qcow2 -b a.raw -F raw b.qcow2 2M
qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 c.qcow2 3M
qemu-io -c 'write 128k 64k' b.qcow2 >/dev/null
qemu-io -c 'write 2560k 64k' c.qcow2 >/dev/null
qemu-img map c.qcow2
qemu-img map --output=json c.qcow2
