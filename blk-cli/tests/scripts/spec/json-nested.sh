# json: with nested objects.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 64k' 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"}}'
echo "exit $?"
qemu-io -c 'read -P 1 0 64k' -c 'length' a.qcow2
