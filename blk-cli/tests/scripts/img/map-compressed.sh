# Compressed clusters have no place that could be shown.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write 0 64k' -c 'write -c 64k 64k' -c 'write 128k 64k' a.qcow2 >/dev/null
qemu-img map --output=json a.qcow2
qemu-img map a.qcow2 >/dev/null
echo "exit $?"
