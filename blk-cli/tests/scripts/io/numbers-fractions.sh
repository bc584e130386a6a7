qemu-img create -q -f qcow2 t.qcow2 1M
for number in 1.0 1.5 1. 1.k .5k . .k 1.5k 1.0b 1.5b 0.1k 0.999k 0.0001k 1.1k 3.14159M 1.5e 7.99E 1.9999999999999999999k; do
    qemu-io -r -c "alloc $number 1" t.qcow2
    echo "exit $?"
done
