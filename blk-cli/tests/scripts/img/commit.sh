# Changes go to the disk below, and the image is empty.
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-io -c 'write -P 1 0 256k' base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -P 3 1M 64k' top.qcow2 >/dev/null
qemu-img commit top.qcow2
echo "exit $?"
qemu-img map --output=json top.qcow2
qemu-img map --output=json base.qcow2
qemu-img check top.qcow2
qemu-img check base.qcow2
