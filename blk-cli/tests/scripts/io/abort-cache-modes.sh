qemu-img create -q -f qcow2 t.qcow2 1M
(qemu-io -t directsync -c 'write -P 1 0 64k' -c abort t.qcow2) >/dev/null 2>&1
echo "exit $?"
(qemu-io -c 'write -z 64k 64k' -c 'write -P 2 128k 512' -c abort t.qcow2) >/dev/null 2>&1
echo "exit $?"
(qemu-io -n -c 'write -P 3 192k 64k' -c flush -c abort t.qcow2) >/dev/null 2>&1
echo "exit $?"
qemu-io -c 'read -P 1 0 64k' -c 'read -P 0 64k 64k' -c 'read -P 2 128k 512' -c 'read -P 3 192k 64k' t.qcow2
