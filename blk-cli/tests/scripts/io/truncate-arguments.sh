. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c truncate -c 'truncate x' -c 'truncate -1' -c 'truncate 1 2' -c 'truncate 1 2 3 4' -c 'truncate -m' -c 'truncate -m foo 2M' -c 'truncate 8E' -c 'truncate 2000001' -c 'truncate -x 1M' t.qcow2
io -c 'truncate -m off 2M' -c length t.qcow2
