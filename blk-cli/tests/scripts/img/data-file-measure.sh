# How large an image is says nothing of where its data lies.
for options in cluster_size=64k data_file=d data_file=d,data_file_raw=on data_file=d,preallocation=full; do
    qemu-img measure -O qcow2 -o $options --size 1G
    echo "exit $?"
done
qemu-img create -q -f qcow2 -o data_file=d,data_file_raw=on t.qcow2 2M
qemu-io -c 'write -P 1 0 256k' t.qcow2 | grep -v ops
qemu-img measure -O raw t.qcow2
