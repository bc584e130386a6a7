. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'write' -c 'write 0' -c 'write 0 1 2' -c 'write -Z 0 1' -c 'write -i 0 1' -c 'write -1 1' -c 'write 0 1 -P' -c 'write -s' -c 'write -P -s 0 1' -c 'w 0 1 2' t.qcow2
io -c 'write 0 2147483137' -c 'writev 0' -c 'writev -z 0 1' -c 'writev 0 3G' -c 'writev 0 1G 1G' -c 'writev -P 300 0 1' t.qcow2
