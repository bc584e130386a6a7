# A raw disk is cut, and gains zeroes.
qemu-img create -q -f raw a.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' a.raw >/dev/null
for size in 512k -100k 1000 +1M; do
    qemu-img resize -f raw --shrink a.raw $size
    echo "exit $?"
    wc -c < a.raw
done
qemu-io -f raw -r -c 'read -P 1 0 512' -c 'read -P 0 1024 100k' a.raw | grep -v ops
