qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'aio_write -P 1 0 64k' -c length -c 'sleep 100' -c length t.qcow2
