# What nobody knows.
qemu-img create -f foo a.img 1M
echo "exit $?"
qemu-img create -f qcow2 -o colour=red a.img 1M
echo "exit $?"
qemu-img create -f raw -o cluster_size=64k a.img 1M
echo "exit $?"
qemu-img create --colour a.img 1M 2>/dev/null
echo "exit $?"
qemu-img create a.img 1M 2M
echo "exit $?"
ls
