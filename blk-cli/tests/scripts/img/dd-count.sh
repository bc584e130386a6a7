# Some blocks.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write -P 1 0 128k' -c 'write -P 2 512k 64k' a.raw >/dev/null
for operands in 'count=2' 'count=0' 'count=100' 'skip=8' 'skip=1 count=2' 'count=1 count=3'; do
    qemu-img dd if=a.raw of=b.raw bs=64k $operands
    echo "exit $?"
    cksum b.raw
done
