# Over a backing file.
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-io -c 'write -P 1 0 1M' base.qcow2 >/dev/null
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
qemu-io -c 'write -P 2 64k 64k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-io -c 'write -P 3 0 256k' a.qcow2 >/dev/null
qemu-img convert -l one -O raw a.qcow2 one.raw
qemu-io -f raw -c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' -c 'read -P 1 128k 128k' one.raw | grep -v ops
qemu-img snapshot -a one a.qcow2
qemu-img map --output=json a.qcow2
qemu-img check -q a.qcow2; echo "check $?"
