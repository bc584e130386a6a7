qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 256k' -c 'write -zu 64k 64k' -c 'read -P 0 64k 64k' -c map t.qcow2
qemu-img map --output=json t.qcow2 | sed 's/, "offset": [0-9]*//'
