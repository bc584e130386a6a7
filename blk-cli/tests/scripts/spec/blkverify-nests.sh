# The image under test may be verified itself.
qemu-img create -q -f raw a.raw 1M
qemu-img create -q -f raw b.raw 1M
qemu-img create -q -f qcow2 c.qcow2 1M
qemu-io -f raw -c 'write -P 1 0 64k' -c 'read -P 1 0 64k' blkverify:a.raw:blkverify:b.raw:c.qcow2 2>/dev/null
echo "exit $?"
qemu-img compare -f raw -F qcow2 b.raw c.qcow2
