# A raw file below, taken as raw although it holds a qcow2 image.
qemu-img create -q -f qcow2 -o cluster_size=512 base.qcow2 1M
truncate -s 1M base.qcow2
qemu-img create -f qcow2 -b base.qcow2 -F raw top.qcow2
echo "exit $?"
