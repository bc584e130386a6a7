# What cannot be.
qemu-img create -q -f qcow2 b1.qcow2 8M
qemu-io -c 'write -P 1 0 256k' b1.qcow2 >/dev/null
qemu-img create -q -f qcow2 b2.qcow2 8M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 128k' b2.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b b1.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -P 3 1M 64k' top.qcow2 >/dev/null
qemu-img rebase -b b2.qcow2 top.qcow2
echo "exit $?"
qemu-img rebase -u -b b2.qcow2 top.qcow2
echo "exit $?"
qemu-img rebase top.qcow2
echo "exit $?"
qemu-img rebase -b b2.qcow2 -F foo top.qcow2
echo "exit $?"
qemu-img rebase -b none.qcow2 -F qcow2 top.qcow2
echo "exit $?"
qemu-img rebase
echo "exit $?"
qemu-img rebase -b top.qcow2 -F qcow2 top.qcow2 2>/dev/null
echo "exit $?"
qemu-img info top.qcow2 | grep backing
