# Data of two disks.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write 4M 128k' a.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2 80M
qemu-io -c 'write 64k 128k' -c 'write 66M 64k' -c 'write -z 4M 64k' top.qcow2 >/dev/null
qemu-img map top.qcow2
qemu-img map --output=json top.qcow2
