. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 8G
io -c 'write -zn 0 4G' -c 'write -z 0 4G' -c 'write -n 0 4G' -c 'write -zn 0 8G' t.qcow2
io -c 'write -zn 4G 8G' t.qcow2
