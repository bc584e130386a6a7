# What version 2 cannot have.
qemu-img create -q -f qcow2 -o refcount_bits=8 bits.qcow2 1M
qemu-img create -q -f qcow2 -o extended_l2=on subclusters.qcow2 1M
qemu-img create -q -f qcow2 -o compression_type=zstd zstd.qcow2 1M
qemu-io -c 'write -c -P 5 0 64k' zstd.qcow2 >/dev/null
qemu-img create -q -f qcow2 sizes.qcow2 1M
qemu-img snapshot -c one sizes.qcow2
qemu-img resize -q sizes.qcow2 2M
for image in bits subclusters zstd sizes; do
    qemu-img amend -o compat=0.10 $image.qcow2 2>/dev/null; echo "$image: exit $?"
    qemu-img info $image.qcow2 | grep -e compat: -e compression -e refcount
    qemu-img check $image.qcow2 | head -1
done
qemu-img amend -o compat=0.10,refcount_bits=16 bits.qcow2; echo "exit $?"
qemu-img info bits.qcow2 | grep -e compat: -e refcount
