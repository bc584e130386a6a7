# Nothing is wrong.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
qemu-img check a.qcow2
echo "exit $?"
qemu-img check -f qcow2 --output=human a.qcow2
