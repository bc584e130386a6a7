# Without -f the format is found out; with it nothing is.
qemu-img create -q -f qcow2 a.img 1M
qemu-io -c 'write -P 3 0 64k' -c 'read -P 3 0 64k' -c 'length' a.img
echo "exit $?"
qemu-io -r -f raw -c 'read -P 0x51 0 1' a.img
echo "exit $?"
