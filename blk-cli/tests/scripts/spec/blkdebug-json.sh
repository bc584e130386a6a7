# Rules as a list in JSON.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 128k' a.qcow2
qemu-io -c 'read 0 64k' -c 'read 0 64k' 'json:{"driver":"qcow2","file":{"driver":"blkdebug","image":{"driver":"file","filename":"a.qcow2"},"inject-error":[{"event":"read_aio","errno":5,"once":true}]}}'
echo "exit $?"
