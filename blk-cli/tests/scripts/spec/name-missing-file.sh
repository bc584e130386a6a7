# What cannot be opened is an error with exit code 1.
qemu-io -c 'length' none.raw
echo "exit $?"
qemu-io -f qcow2 -c 'length' none.qcow2
echo "exit $?"
qemu-io -c 'length' .
echo "exit $?"
