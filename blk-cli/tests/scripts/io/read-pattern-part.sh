qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 512' -c 'write -P 2 512 512' t.qcow2
qemu-io -c 'read -P 1 -l 512 0 1k' -c 'read -P 2 -s 512 0 1k' -c 'read -P 2 -s 512 -l 512 0 1k' -c 'read -P 1 -s 4 -l 5 8 512' t.qcow2
echo "exit $?"
qemu-io -c 'read -P 1 -s 500 -l 20 0 1k' -c 'read -P 2 -s 500 0 1k' -c 'read -P 9 -l 0 0 1k' -c 'read -P 9 -s 1k 0 1k' t.qcow2
echo "exit $?"
