# Block for block.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write -P 1 0 128k' -c 'write -P 2 512k 64k' a.raw >/dev/null
qemu-img dd if=a.raw of=b.raw
echo "exit $?"
cmp a.raw b.raw
qemu-img dd if=a.raw of=c.raw bs=1000
cmp a.raw c.raw
qemu-img dd bs=64k of=d.raw if=a.raw
cmp a.raw d.raw
