# Past the disk in between.
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-io -c 'write -P 1 0 256k' base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -P 3 1M 64k' top.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b top.qcow2 -F qcow2 third.qcow2
qemu-io -c 'write -P 7 192k 64k' third.qcow2 >/dev/null
qemu-img commit -b base.qcow2 third.qcow2
echo "exit $?"
qemu-img map --output=json base.qcow2
qemu-img map --output=json third.qcow2
qemu-img commit -b none.qcow2 third.qcow2
echo "exit $?"
