# Names of disks below count from the folder of the image.
mkdir sub
qemu-img create -q -f raw sub/base.raw 1M
qemu-io -f raw -c 'write 0 128k' sub/base.raw >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw sub/top.qcow2
qemu-img map sub/top.qcow2
qemu-img map --output=json sub/top.qcow2
