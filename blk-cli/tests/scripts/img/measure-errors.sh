# What cannot be.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write -P 1 0 128k' -c 'write -P 2 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write -P 3 4M 100k' a.qcow2 >/dev/null
qemu-img measure
echo "exit $?"
qemu-img measure --size 1G a.qcow2
echo "exit $?"
qemu-img measure -O foo --size 1G
echo "exit $?"
qemu-img measure --size 1X
echo "exit $?"
qemu-img measure none.raw
echo "exit $?"
qemu-img measure -f qcow2 --size 1G
echo "exit $?"
qemu-img measure -O qcow2 -o cluster_size=3 --size 1G
echo "exit $?"
qemu-img measure -O qcow2 --size 10E
echo "exit $?"
