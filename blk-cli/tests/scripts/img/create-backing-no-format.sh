# The format of the disk below has to be given.
qemu-img create -q -f raw base.raw 1M
qemu-img create -f qcow2 -b base.raw top.qcow2 2>/dev/null
echo "exit $?"
qemu-img create -f qcow2 -u -b base.raw top.qcow2 1M
echo "exit $?"
ls
