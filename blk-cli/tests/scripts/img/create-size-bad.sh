# Sizes that are none.
for size in 1X 1mb 1e3 0x10k 8E ""; do
    qemu-img create -f qcow2 a.qcow2 "$size"
    echo "exit $?"
done
