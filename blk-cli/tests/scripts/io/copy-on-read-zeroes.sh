qemu-img create -q -f qcow2 t.qcow2 1M
qemu-img create -q -f raw t.raw 1M
qemu-img create -q -f qcow2 -b t.raw -F raw o.qcow2
qemu-io -C -c 'read 0 512' -c 'read 256k 1' -c map o.qcow2
qemu-io -C -c 'read 0 512' t.qcow2
qemu-img map --output=json o.qcow2 | sed 's/, "offset": [0-9]*//'
