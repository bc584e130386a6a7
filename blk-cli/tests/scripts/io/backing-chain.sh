qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' t.raw
qemu-img create -q -f qcow2 -b t.raw -F raw a.qcow2
qemu-io -c 'write -P 2 64k 64k' a.qcow2
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
qemu-io -c 'write -P 3 100k 8k' -c 'write -z 256k 64k' -c 'read -P 1 0 64k' -c 'read -P 2 64k 36k' -c 'read -P 3 100k 8k' -c 'read -P 2 108k 20k' -c 'read -P 0 256k 64k' -c map b.qcow2
