# Sizes with and without units.
for size in 512 1k 1K 1.5k 3M 1.5M 0.5G 1G 2T 0x100000; do
    qemu-img create -f qcow2 a.qcow2 $size
    echo "exit $?"
done
