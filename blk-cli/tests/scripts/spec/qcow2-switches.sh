# Switches of qcow2, and values that they do not have.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io --image-opts -c 'write -P 1 0 64k' -c 'discard 0 64k' driver=qcow2,file.filename=a.qcow2,lazy-refcounts=on,pass-discard-request=off,pass-discard-snapshot=on,pass-discard-other=off
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,lazy-refcounts=maybe
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,pass-discard-request=maybe
echo "exit $?"
