# Back to a snapshot by its name, and by its ID.
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-io -c 'write -P 1 0 1M' a.qcow2 >/dev/null
qemu-img snapshot -c first a.qcow2
qemu-io -c 'write -P 2 512k 1M' -c 'write -z 0 64k' a.qcow2 >/dev/null
qemu-img snapshot -c second a.qcow2
qemu-io -c 'write -P 3 3M 64k' a.qcow2 >/dev/null
qemu-img snapshot -a first a.qcow2
echo "exit $?"
qemu-io -c 'read -P 1 0 1M' -c 'read -P 0 1M 3M' a.qcow2 | grep -v ops
qemu-img check -q a.qcow2; echo "check $?"
qemu-img snapshot -a 2 a.qcow2
echo "exit $?"
qemu-io -c 'read -P 0 0 64k' -c 'read -P 2 512k 1M' -c 'read -P 0 3M 64k' a.qcow2 | grep -v ops
qemu-img check -q a.qcow2; echo "check $?"
qemu-img snapshot -a 3 a.qcow2
echo "exit $?"
