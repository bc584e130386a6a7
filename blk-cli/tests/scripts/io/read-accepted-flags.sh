qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'read -p 0 512' -c 'read -r 0 512' -c 'readv -r 0 5' -c 'write -p 0 512' -c 'write -r 0 512' -c 'writev -r 0 5' t.qcow2
