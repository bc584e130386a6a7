# Between formats; zeroes are stored too.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write -P 1 0 128k' -c 'write -P 2 512k 64k' a.raw >/dev/null
qemu-img dd -f raw -O qcow2 bs=64k if=a.raw of=b.qcow2
echo "exit $?"
qemu-img compare -f raw a.raw b.qcow2
qemu-img map --output=json b.qcow2
qemu-img dd -f qcow2 -O raw bs=1M if=b.qcow2 of=c.raw
cmp a.raw c.raw
