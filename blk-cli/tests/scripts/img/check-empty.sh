# Images without data.
qemu-img create -q -f qcow2 b.qcow2 1M
qemu-img check b.qcow2
qemu-img check --output=json b.qcow2
