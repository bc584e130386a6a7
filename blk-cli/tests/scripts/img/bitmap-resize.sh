# A disk that grows keeps its bitmaps; what it gains is clean.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 -o cluster_size=512 a.qcow2 1M
qemu-img bitmap --add -g 512 a.qcow2 fine
qemu-img bitmap --add -g 1M --disable a.qcow2 coarse
qemu-io -c 'write 1048064 512' a.qcow2 >/dev/null
qemu-img resize a.qcow2 +512; echo "exit $?"
dirty a.qcow2 fine
qemu-img resize a.qcow2 40M; echo "exit $?"
dirty a.qcow2 fine; dirty a.qcow2 coarse
qemu-img resize --preallocation=full a.qcow2 41M; echo "exit $?"
dirty a.qcow2 fine
qemu-img amend -o size=42M a.qcow2; echo "exit $?"
qemu-io -c 'write 41M 1k' -c 'truncate 43M' -c 'write 42M 1k' a.qcow2 >/dev/null
dirty a.qcow2 fine
bitmaps a.qcow2
qemu-img check a.qcow2 | head -1
