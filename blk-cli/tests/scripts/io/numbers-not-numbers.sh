qemu-img create -q -f qcow2 t.qcow2 1M
for number in x k 1kb 1KiB 1kk 1s 1Z 1_0 1,5 1e3 1e+3 inf nan +-5 --5 5x 1.5.5k 0b11 0o7 1K1; do
    qemu-io -r -c "alloc $number 1" t.qcow2
    echo "exit $?"
done
