# The size comes from the disk below.
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-img create -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
echo "exit $?"
qemu-img create -f qcow2 -b base.qcow2 -F qcow2 larger.qcow2 16M
qemu-img create -f qcow2 -o backing_file=base.qcow2,backing_fmt=qcow2 option.qcow2
qemu-img map --output=json larger.qcow2
