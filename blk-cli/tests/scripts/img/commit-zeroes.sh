# Zeroes hide what lies below, also after that.
qemu-img create -q -f qcow2 base.qcow2 8M
qemu-io -c 'write -P 1 0 256k' base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
qemu-io -c 'write -P 2 64k 64k' -c 'write -P 3 1M 64k' top.qcow2 >/dev/null
qemu-io -c 'write -z 128k 64k' -c 'write -z 2M 64k' top.qcow2 >/dev/null
qemu-img convert -O raw top.qcow2 before.raw
qemu-img commit top.qcow2
qemu-img compare before.raw base.qcow2
qemu-img compare before.raw top.qcow2
