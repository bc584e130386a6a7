. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c length nosuch
io -c 'open nosuch' -c 'open t.qcow2' -c length
io -c length .
io -c length ''
io -f qcow2 -c length /dev/null
