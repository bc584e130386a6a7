# To a raw image.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img convert -O raw a.qcow2 b.raw
echo "exit $?"
qemu-img convert a.qcow2 c.raw
qemu-img compare a.qcow2 b.raw
qemu-img map --output=json -f raw b.raw
cmp b.raw c.raw
