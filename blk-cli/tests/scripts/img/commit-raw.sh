# To a raw image.
qemu-img create -q base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2 2M
qemu-io -c 'write -P 9 64k 64k' -c 'write -P 8 1M 64k' top.qcow2 >/dev/null
qemu-img commit top.qcow2
echo "exit $?"
wc -c < base.raw
qemu-io -f raw -c 'read -P 9 64k 64k' -c 'read -P 8 1M 64k' base.raw | grep -v ops
