# A bitmap has at most 2^32 bits.
qemu-img create -q -f qcow2 -o cluster_size=2M a.qcow2 2049G
for size in 512 1k 2k; do qemu-img bitmap --add -g $size a.qcow2 g$size; echo "$size: exit $?"; done
qemu-img create -q -f qcow2 -o cluster_size=2M b.qcow2 2T
qemu-img bitmap --add -g 512 b.qcow2 most; echo "exit $?"
qemu-img check b.qcow2 | head -1
