qemu-img create -q -f qcow2 -o compat=0.10 t.qcow2 1M
qemu-io -c 'write -P 1 0 128k' -c 'write -z 0 64k' -c 'read -P 0 0 64k' -c 'read -P 1 64k 64k' -c 'truncate 2M' -c length t.qcow2
