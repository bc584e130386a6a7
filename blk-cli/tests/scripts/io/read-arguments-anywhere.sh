qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'read 0 -P 0 512' -c 'read 0 512 -q' -c 'read 0 512 -P0' -c 'read -- 0 512' -c 'read -vP 0 0 4' -c 'read 0 -v -- 4' t.qcow2
echo "exit $?"
