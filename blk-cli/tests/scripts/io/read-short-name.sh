qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'r 0 512' -c 'w -P 3 512 1k' -c 'r -P 3 512 1k' -c 'l' -c 'd 0 512' -c 'f' -c 'a 0' -c 'i' -c 't 2M' -c 'l' -c 'c' -c 'o t.qcow2' -c 'q' t.qcow2
