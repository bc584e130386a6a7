# What cannot be.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write -P 1 0 128k' -c 'write -P 2 512k 64k' a.raw >/dev/null
qemu-img dd if=a.raw
echo "exit $?"
qemu-img dd of=b.raw
echo "exit $?"
qemu-img dd if=none.raw of=b.raw
echo "exit $?"
for operand in bs=0 bs=x bs=2G colour=red colour seek=2 count=x; do
    qemu-img dd if=a.raw of=b.raw $operand
    echo "exit $?"
done
qemu-img dd -O foo if=a.raw of=b.raw
echo "exit $?"
ls
