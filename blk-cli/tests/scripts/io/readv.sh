qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'writev -P 5 0 512 512' -c 'readv -P 5 0 1k' -c 'readv -v 1016 8 8' -c 'readv -q 0 1' -c 'readv -P 5 0 512 256 256' t.qcow2
echo "exit $?"
qemu-io -c 'readv -P 6 0 512 512' t.qcow2
echo "exit $?"
