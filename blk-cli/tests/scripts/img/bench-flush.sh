# Flushes in between.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-img bench -w --flush-interval 10 -d 4 -c 100 a.qcow2 | sed 's/completed in .*/completed/'
qemu-img bench -w --flush-interval 10 --no-drain -d 4 -c 100 a.qcow2 | sed 's/completed in .*/completed/'
qemu-img bench -w --flush-interval 10 -c 100 a.qcow2
echo "exit $?"
qemu-img bench --flush-interval 100 a.qcow2
echo "exit $?"
