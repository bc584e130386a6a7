# Nothing is said.
qemu-img create -q -f qcow2 a.qcow2 1M
echo "exit $?"
qemu-img create --quiet b.raw 1M
ls
