qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'read 0 0' -c 'readv 0 0' -c 'readv 0 0 5' -c 'read -P 0 0 0' -c 'write 0 0' -c 'write -z 0 0' -c 'discard 0 0' t.qcow2
