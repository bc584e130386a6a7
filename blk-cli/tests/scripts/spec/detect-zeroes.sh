# Zeroes that are written become zero clusters where that is asked for.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io --image-opts -c 'write -P 1 0 256k' driver=qcow2,file.filename=a.qcow2
qemu-io --image-opts -c 'write -P 0 0 64k' driver=qcow2,file.filename=a.qcow2,detect-zeroes=off
qemu-io --image-opts -c 'write -P 0 64k 64k' driver=qcow2,file.filename=a.qcow2,detect-zeroes=on
qemu-io --image-opts -c 'write -P 0 128k 64k' driver=qcow2,file.filename=a.qcow2,detect-zeroes=unmap,discard=unmap
qemu-io -c 'map' -c 'read -P 0 0 192k' -c 'read -P 1 192k 64k' a.qcow2
qemu-img map --output=json a.qcow2 | sed 's/, "offset".*//; s/"compressed": false//'
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,detect-zeroes=maybe
echo "exit $?"
