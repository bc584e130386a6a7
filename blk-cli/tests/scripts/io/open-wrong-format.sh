. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-img create -q -f raw t.raw 1M
io -f qcow2 -c length t.raw
io -f nosuch -c length t.raw
io -c 'open -o driver=qcow2 t.raw' -c 'open -o driver=nosuch t.raw' -c 'open -o driver=raw t.qcow2' -c 'read -v 0 4'
