# Where the data of a qcow2 image lies.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write 4M 128k' a.qcow2 >/dev/null
qemu-img map a.qcow2
qemu-img map --output=json a.qcow2
