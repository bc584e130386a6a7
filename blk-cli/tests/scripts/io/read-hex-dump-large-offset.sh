qemu-img create -q -f qcow2 t.qcow2 8T
qemu-io -c 'write -P 1 7T 512' -c 'read -v 7T 20' -c 'read -v 4294967290 20' t.qcow2
