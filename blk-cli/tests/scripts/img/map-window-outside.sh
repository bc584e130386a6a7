# Parts that are not there.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write 2M 64k' -c 'write -z 2M 64k' -c 'write 4M 128k' a.qcow2 >/dev/null
qemu-img map --start-offset=200M --output=json a.qcow2
echo "exit $?"
qemu-img map --start-offset=200M a.qcow2
qemu-img map --start-offset=-1 a.qcow2
echo "exit $?"
qemu-img map --max-length=x a.qcow2
echo "exit $?"
