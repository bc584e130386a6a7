# A folder that does not exist.
qemu-img create -f qcow2 none/a.qcow2 1M
echo "exit $?"
