. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
(qemu-io -c 'write -P 1 0 64k' -c abort -c length t.qcow2) >/dev/null 2>&1
echo "exit $?"
io -c 'abort 1' t.qcow2
qemu-io -c 'read -P 1 0 64k' t.qcow2
qemu-img check t.qcow2
