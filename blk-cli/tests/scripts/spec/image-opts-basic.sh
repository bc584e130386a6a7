# --image-opts with and without a driver.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io --image-opts -c 'write -P 9 4k 4k' driver=qcow2,file.driver=file,file.filename=a.qcow2
echo "exit $?"
qemu-io --image-opts -c 'read -P 9 4k 4k' file.filename=a.qcow2
echo "exit $?"
qemu-img info --image-opts driver=qcow2,file.filename=a.qcow2 | grep -e image: -e 'file format'
