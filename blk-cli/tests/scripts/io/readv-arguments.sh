. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'readv 0' -c 'readv' -c 'readv -1' -c 'readv -Z 0 1' -c 'readv -q 0' -c 'readv -P x 0 1' -c 'readv -s 1 0 1' -c 'readv -b 0 1' t.qcow2
