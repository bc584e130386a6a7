# A repair of what is not broken.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
qemu-img check -r all a.qcow2
echo "exit $?"
qemu-img check --repair leaks a.qcow2
echo "exit $?"
