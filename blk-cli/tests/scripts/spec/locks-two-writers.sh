# A qcow2 image has one writer, and no readers meanwhile but those that share.
qemu-img create -q -f qcow2 a.qcow2 1M
{ sleep 2; } | qemu-io a.qcow2 >/dev/null 2>&1 &
sleep 1
qemu-io -c 'length' a.qcow2 2>&1 | grep -v '^Is another'
qemu-io -r -c 'length' a.qcow2 2>&1 | grep -v '^Is another'
qemu-io -r -U -c 'length' a.qcow2
qemu-img info a.qcow2 2>&1 | grep -v '^Is another'
wait
qemu-io -c 'length' a.qcow2
echo "exit $?"
