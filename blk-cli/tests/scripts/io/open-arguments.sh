. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c open -c 'open -x t.qcow2' -c 'open -o' -c 'open t.qcow2 t.qcow2' -c 'open -r' -c 'open -t' t.qcow2
io -c 'open t.qcow2 t.qcow2' -c 'open -r'
