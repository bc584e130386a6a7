qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 1M' -c 'truncate 2M' -c length -c 'read -P 0 1M 1M' -c 'read -P 1 0 1M' -c map t.qcow2
echo "exit $?"
