qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 128k' t.qcow2
qemu-io -s -c map -c 'read -P 1 0 64k' -c 'write -P 2 0 512' -c 'read -P 2 0 512' -c 'read -P 1 512 127k' -c map -c length -c 'discard 64k 64k' t.qcow2
qemu-io -c 'read -P 1 0 128k' -c map t.qcow2
echo "exit $?"
