qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' t.raw
qemu-img create -q -f qcow2 -b t.raw -F raw t.qcow2
qemu-io -C -c map -c 'read -P 1 0 512' -c map -c 'read -P 1 128k 1' -c map -c 'read -P 1 600k 128k' -c map -c 'write -P 2 300k 5' -c 'read -P 1 307205 1k' t.qcow2
qemu-io -f raw -c 'write -P 9 0 1M' t.raw
qemu-io -c 'read -P 1 0 64k' -c 'read -P 9 64k 64k' -c 'read -P 1 576k 192k' t.qcow2
