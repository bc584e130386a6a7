qemu-img create -q -f qcow2 t.qcow2 1M
printf 'open t.qcow2\nlength\nclose\nlength\n' | qemu-io 2>&1
echo "exit $?"
echo length | qemu-io -c 'read 0 512' t.qcow2
