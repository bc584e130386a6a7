# Options of a new image alone, and those that are none.
qemu-img create -q -f qcow2 a.qcow2 1M
for option in compression_type=zstd preallocation=metadata cluster_size=4k encryption=on encrypt.format=luks \
    extended_l2=on encrypt.cipher-alg=aes-256 colour=red data_file=x data_file_raw=on encrypt.state=active \
    encrypt.keyslot=1; do
    qemu-img amend -o $option a.qcow2 2>/dev/null; echo "$option: exit $?"
done
qemu-img amend -o compat=0.10,cluster_size=4k a.qcow2 2>/dev/null; echo "exit $?"
qemu-img info a.qcow2 | grep -e compat: -e cluster_size
