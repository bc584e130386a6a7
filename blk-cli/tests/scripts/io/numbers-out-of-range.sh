qemu-img create -q -f qcow2 t.qcow2 1M
for number in 9223372036854775807 9223372036854775808 18446744073709551616 8E 16E 0xffffffffffffffff 0xfffffffffffffffff -0 -5 -5k; do
    qemu-io -r -c "alloc $number 1" t.qcow2
    echo "exit $?"
done
