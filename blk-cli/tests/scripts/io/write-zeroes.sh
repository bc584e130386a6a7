qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 256k' -c 'write -z 64k 64k' -c 'write -z 130k 5' -c 'read -P 0 64k 64k' -c 'read -P 1 0 64k' -c 'read -P 0 130k 5' -c 'read -P 1 133125 1k' -c map t.qcow2
qemu-img map --output=json t.qcow2 | sed 's/, "offset": [0-9]*//'
