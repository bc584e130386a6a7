qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 256k' -c 'discard 64k 64k' -c 'read -P 0 64k 64k' -c 'read -P 1 0 64k' -c 'discard -q 0 64k' -c 'discard -C 128k 64k' t.qcow2
