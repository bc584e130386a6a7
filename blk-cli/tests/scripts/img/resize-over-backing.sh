# What is gained does not show the disk below.
qemu-img create -q base.raw 2M
qemu-io -f raw -c 'write -P 7 0 2M' base.raw >/dev/null
qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2 1M
qemu-img resize top.qcow2 3M
echo "exit $?"
qemu-io -c 'read -P 7 0 1M' -c 'read -P 0 1M 2M' top.qcow2 | grep -v ops
