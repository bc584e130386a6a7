qemu-img create -q -f qcow2 -o cluster_size=512 t.qcow2 1M
qemu-io -c 'write -P 1 0 512' -c 'write -P 2 1k 700' -c 'read -P 1 0 512' -c 'read -P 0 512 512' -c 'read -P 2 1k 700' -c 'map' -c 'alloc 0 4k' t.qcow2
