# An external data file where the image has none.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f raw d.raw 1M
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,data-file.driver=file,data-file.filename=d.raw
echo "exit $?"
