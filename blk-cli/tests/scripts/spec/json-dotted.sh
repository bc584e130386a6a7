# json: with dots in the keys, and with both.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'length' 'json:{"driver":"qcow2","file.driver":"file","file.filename":"a.qcow2"}'
echo "exit $?"
qemu-io -c 'length' 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"},"file.locking":"off"}'
echo "exit $?"
