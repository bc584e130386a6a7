qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'aio_write -P 1 0 64k' t.qcow2
echo "exit $?"
qemu-io -c 'aio_write -P 2 64k 64k' -c length -c quit t.qcow2
echo "exit $?"
qemu-io -c 'aio_write -P 3 128k 512' -c close -c 'open t.qcow2' -c 'read -P 3 128k 512' t.qcow2
qemu-io -c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' t.qcow2
