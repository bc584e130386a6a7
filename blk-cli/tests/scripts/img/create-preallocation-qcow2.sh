# A qcow2 file that is allocated at once.
for mode in falloc full; do
    qemu-img create -f qcow2 -o preallocation=$mode $mode.qcow2 1M
    qemu-img check $mode.qcow2
    qemu-img map --output=json $mode.qcow2
done
