qemu-img create -q -f qcow2 t.qcow2 1M
printf 'aio_write 0 64k\nsleep 100\nlength\n' | qemu-io t.qcow2
echo
(printf 'aio_write 0 64k\n'; sleep 0.3; printf 'length\n') | qemu-io t.qcow2
echo
