# Two sources, one behind the other.
qemu-img create -q a.raw 1M
qemu-img create -q b.raw 2M
qemu-io -f raw -c 'write -P 1 0 64k' a.raw >/dev/null
qemu-io -f raw -c 'write -P 2 1M 64k' b.raw >/dev/null
qemu-img convert -f raw -O qcow2 a.raw b.raw c.qcow2
echo "exit $?"
qemu-img map --output=json c.qcow2
