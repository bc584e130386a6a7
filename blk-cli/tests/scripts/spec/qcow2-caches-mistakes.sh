# Sizes of caches that contradict each other.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,l2-cache-size=1M,cache-size=512k
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,l2-cache-size=1M,refcount-cache-size=512k,cache-size=1536k
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,l2-cache-entry-size=100
echo "exit $?"
qemu-io --image-opts -c 'length' driver=qcow2,file.filename=a.qcow2,l2-cache-size=lots 2>/dev/null
echo "exit $?"
