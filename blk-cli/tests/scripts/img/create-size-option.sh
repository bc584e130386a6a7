# The size as an option; twice is an error.
qemu-img create -f qcow2 -o size=3M a.qcow2
echo "exit $?"
qemu-img create -f qcow2 -o size=3M b.qcow2 4M
echo "exit $?"
qemu-img create -f raw -o size=1M,size=2M c.raw
