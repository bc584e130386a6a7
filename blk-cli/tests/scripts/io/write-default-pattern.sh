qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write 0 512' -c 'read -P 0xcd 0 512' -c 'writev 1k 512' -c 'read -v 1020 8' t.qcow2
