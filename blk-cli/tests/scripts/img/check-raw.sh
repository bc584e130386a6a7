# Formats that cannot be checked have an exit code of their own.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
qemu-img create -q a.raw 1M
qemu-img check a.raw
echo "exit $?"
qemu-img check --output=json a.raw
echo "exit $?"
qemu-img check -f raw a.qcow2
echo "exit $?"
