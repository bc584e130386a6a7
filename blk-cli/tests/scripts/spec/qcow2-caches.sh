# Small caches, and the data are still right.
qemu-img create -q -f qcow2 -o cluster_size=4k a.qcow2 4M
qemu-io --image-opts -c 'write -P 1 0 3M' -c 'read -P 1 0 3M' driver=qcow2,file.filename=a.qcow2,l2-cache-size=8k,refcount-cache-size=16k
echo "exit $?"
qemu-io --image-opts -c 'read -P 1 1M 1M' driver=qcow2,file.filename=a.qcow2,cache-size=64k,l2-cache-entry-size=512
echo "exit $?"
qemu-img check -q a.qcow2
echo "exit $?"
