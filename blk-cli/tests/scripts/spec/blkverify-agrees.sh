# Two images that stay the same.
qemu-img create -q -f raw a.raw 1M
qemu-img create -q -f qcow2 b.qcow2 1M
qemu-io -f raw -c 'write -P 1 0 64k' -c 'read -P 1 0 64k' -c 'write -P 2 100k 3k' -c 'flush' -c 'read 0 1M' blkverify:a.raw:b.qcow2
echo "exit $?"
qemu-img compare -f raw -F qcow2 a.raw b.qcow2
