# Only the name changes.
qemu-img create -q -f qcow2 b1.qcow2 8M
qemu-io -c 'write -P 1 0 256k' b1.qcow2 >/dev/null
qemu-img create -q -f qcow2 b2.qcow2 8M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 128k' b2.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b b1.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -P 3 1M 64k' top.qcow2 >/dev/null
qemu-img rebase -u -b b2.qcow2 -F qcow2 top.qcow2
echo "exit $?"
qemu-img info top.qcow2 | grep backing
qemu-img rebase -u -b none -F raw top.qcow2
echo "exit $?"
qemu-img info top.qcow2 | grep backing
qemu-img rebase -u -b "" top.qcow2
qemu-img info top.qcow2 | grep backing
qemu-img map --output=json top.qcow2
