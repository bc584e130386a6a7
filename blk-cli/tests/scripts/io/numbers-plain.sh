qemu-img create -q -f qcow2 t.qcow2 1M
for number in +5 010 08 00012 1234567; do
    qemu-io -r -c "alloc $number 1" t.qcow2
    echo "exit $?"
done
