# A rate is kept: 3 MiB at 1 MiB a second take more than a second.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 8M
qemu-io -c 'write -q -P 1 0 3M' a
before=$(date +%s%N)
img convert -r 1M -O raw a b
after=$(date +%s%N)
test $((after - before)) -ge 1000000000 && echo "slow enough"
for rate in 0 -1 x 1.5M 8E 1 ''; do
    echo "== $rate"
    timeout 2 qemu-img convert -r "$rate" -O raw b c >/dev/null 2>&1
    test $? -eq 1 && echo refused
done
rm -f c
