. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c break -c 'break a' -c 'break 1 2 3' -c resume -c 'remove_break 1 2' -c wait_break t.qcow2
