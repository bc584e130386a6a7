qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -zn 0 64k' -c 'write -zf 0 64k' -c 'write -unz 0 64k' -c 'write -zz 0 512' -c 'write -zq 0 512' -c 'write -zC 0 512' t.qcow2
echo "exit $?"
