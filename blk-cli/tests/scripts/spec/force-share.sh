# -U is for images that are opened read-only.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -U -c 'length' a.qcow2
echo "exit $?"
qemu-io -r -U -c 'length' a.qcow2
echo "exit $?"
qemu-io -r --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,force-share=on
echo "exit $?"
