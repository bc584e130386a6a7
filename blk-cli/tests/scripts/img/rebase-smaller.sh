# To a shorter disk.
qemu-img create -q -f qcow2 b1.qcow2 8M
qemu-io -c 'write -P 1 0 256k' b1.qcow2 >/dev/null
qemu-img create -q -f qcow2 b2.qcow2 8M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 128k' b2.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b b1.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -P 3 1M 64k' top.qcow2 >/dev/null
qemu-img create -q -f qcow2 small.qcow2 512k
qemu-img convert -O raw top.qcow2 before.raw
qemu-img rebase -b small.qcow2 -F qcow2 top.qcow2
echo "exit $?"
qemu-img compare top.qcow2 before.raw
qemu-img map --output=json top.qcow2
