. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
for mode in none off directsync writeback writethrough unsafe foo; do
    io -t $mode -c 'write 0 512' t.qcow2
done
io -n -c 'write 0 512' t.qcow2
io --cache=none -c length t.qcow2
io -m -c length t.qcow2
