# discard=ignore keeps, discard=unmap gives back.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 0 128k' a.qcow2
qemu-io --image-opts -c 'discard 0 64k' -c 'read -P 1 0 64k' driver=qcow2,file.filename=a.qcow2,discard=ignore
echo "exit $?"
qemu-io --image-opts -c 'discard 0 64k' -c 'read -P 0 0 64k' driver=qcow2,file.filename=a.qcow2,discard=unmap
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,discard=perhaps
echo "exit $?"
