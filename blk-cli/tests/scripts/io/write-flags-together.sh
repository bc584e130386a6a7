. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
printf abc >pattern
io -c 'write -bz 0 512' -c 'write -bf 0 512' -c 'write -fc 0 64k' -c 'write -n 0 512' -c 'write -u 0 512' -c 'write -zP 1 0 512' -c 'write -z -s pattern 0 512' -c 'write -P 1 -s pattern 0 512' -c 'write -zr 0 512' t.qcow2
io -c 'write -bzn 0 512' -c 'write -bcf 0 512' -c 'write -uP 3 0 512' -c 'write -zfc 0 512' -c 'write -zP 3 -s pattern 0 512' -c 'write -zr 0' -c 'write -bn 0 512' -c 'write -znu -P1 x y' t.qcow2
