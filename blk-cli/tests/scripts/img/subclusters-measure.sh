# Entries of 16 bytes take twice the tables.
for options in extended_l2=on extended_l2=off extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=2M \
    extended_l2=on,cluster_size=8k extended_l2=on,preallocation=full; do
    qemu-img measure -O qcow2 -o $options --size 100G
    echo "exit $?"
done
qemu-img create -q -f qcow2 -o extended_l2=on a.qcow2 1M
qemu-io -c 'write 3k 6k' -c 'write 200k 1k' a.qcow2 >/dev/null
qemu-img measure -O qcow2 a.qcow2
qemu-img measure -O raw a.qcow2
