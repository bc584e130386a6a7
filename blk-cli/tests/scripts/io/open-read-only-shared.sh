. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -U -c length t.qcow2
io -U -r -c length t.qcow2
io -c 'open -U t.qcow2' -c 'open -U -r t.qcow2' -c length
