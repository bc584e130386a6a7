qemu-img create -q -f qcow2 t.qcow2 1M
for command in length foo 'read 0' 'read 0 x' 'read -P 1 0 512' 'read 2M 1' 'aio_read 2M 1' '' 'help' 'help foo' 'sleep x' 'write 0 1 1'; do
    qemu-io -c "$command" t.qcow2 >/dev/null 2>&1
    echo "exit $?"
done
qemu-io -c 'read 2M 1' -c length t.qcow2
echo "exit $?"
qemu-io -c length -c 'read 2M 1' t.qcow2
echo "exit $?"
