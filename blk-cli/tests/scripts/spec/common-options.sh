# Options that every node has.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io --image-opts -c 'write -P 4 0 4k' driver=qcow2,file.filename=a.qcow2,node-name=top,cache.no-flush=on,file.locking=on
echo "exit $?"
qemu-io --image-opts -c 'read -P 4 0 4k' driver=qcow2,file.filename=a.qcow2,cache.no-flush=off,file.aio=threads,file.locking=auto
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,file.aio=fast
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,file.locking=perhaps
echo "exit $?"
