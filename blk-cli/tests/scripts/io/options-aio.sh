. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -i threads -c length t.qcow2
io -i foo -c length t.qcow2
io -k -c length t.qcow2
io -n -k -c length t.qcow2
io --aio=native -c length t.qcow2
