# Nothing is left.
qemu-img create -q a.raw 1M
qemu-io -f raw -c 'write -P 1 0 128k' -c 'write -P 2 512k 64k' a.raw >/dev/null
qemu-img dd if=a.raw of=b.raw bs=64k skip=1000
echo "exit $?"
wc -c < b.raw
