# Switches and numbers of JSON.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'length' 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a.qcow2"},"lazy-refcounts":true,"l2-cache-size":1048576}'
echo "exit $?"
qemu-io -c 'length' 'json:{"driver":"null-co","size":4096}'
echo "exit $?"
