# How they are shown.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --add a.qcow2 b
qemu-img bitmap --add --disable -g 4k a.qcow2 'quoted "name"'
qemu-img info a.qcow2 | grep -v -e 'disk size' -e 'file length'
qemu-img info --output=json a.qcow2 | grep -v -e actual-size -e virtual-size
