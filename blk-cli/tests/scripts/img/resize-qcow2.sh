# A qcow2 image becomes larger.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 1 1000k 24k' a.qcow2 >/dev/null
qemu-img resize a.qcow2 2M
echo "exit $?"
qemu-img resize a.qcow2 +1G
qemu-img resize a.qcow2 +0
qemu-img resize a.qcow2 +1.5M
qemu-img map --output=json a.qcow2
qemu-img check a.qcow2
