. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 0 128k' t.qcow2
io -d ignore -c 'discard 0 64k' -c 'read -P 1 0 128k' t.qcow2
io -d off -c 'discard 0 64k' -c 'read -P 1 0 128k' -c 'discard 2M 1' t.qcow2
io -d unmap -c 'discard 0 64k' -c 'read -P 0 0 64k' t.qcow2
io -d on -c 'discard 64k 64k' -c 'read -P 0 0 128k' t.qcow2
io -d foo -c length t.qcow2
