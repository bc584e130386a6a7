# Extended L2 entries: what they need, and what info says of them.
for options in extended_l2=on extended_l2=off extended_l2=on,cluster_size=16k extended_l2=on,cluster_size=8k \
    extended_l2=on,compat=0.10 extended_l2=on,cluster_size=2M,refcount_bits=1 extended_l2=maybe; do
    rm -f a.qcow2
    qemu-img create -f qcow2 -o $options a.qcow2 10M
    echo "exit $?"
    [ -f a.qcow2 ] && qemu-img info a.qcow2 | grep -e cluster_size -e extended
    [ -f a.qcow2 ] && qemu-img info --output=json a.qcow2 | grep -e cluster-size -e extended
done
true
