qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -t writeback -c 'write -f -P 1 0 64k' -c 'writev -f -P 2 64k 512 1k' -c 'write -zf 128k 64k' -c 'read -P 1 0 64k' t.qcow2
