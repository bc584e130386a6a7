# Disks without bytes, and without data.
: > a.raw
qemu-img map a.raw
qemu-img map --output=json a.raw
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img map a.qcow2
qemu-img map --output=json a.qcow2
