qemu-img create -q -f qcow2 t.qcow2 1M
for number in 0 1 2b 1B 1k 1K 1m 1M 1g 1G 1t 1T 1p 1P 1e 1E 7E; do
    qemu-io -r -c "alloc $number 1" t.qcow2
    echo "exit $?"
done
