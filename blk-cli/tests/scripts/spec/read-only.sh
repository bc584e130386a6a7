# read-only=on refuses to write; auto-read-only changes nothing.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,read-only=on
echo "exit $?"
qemu-io -r --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,read-only=on
echo "exit $?"
qemu-io -r --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,auto-read-only=on
echo "exit $?"
