# The first difference ends the program.
qemu-img create -q -f raw a.raw 1M
qemu-img create -q -f qcow2 b.qcow2 1M
qemu-io -f raw -c 'write -P 1 4k 512' a.raw
qemu-io -f raw -c 'read 0 512' -c 'read 4k 512' -c 'read 0 512' blkverify:a.raw:b.qcow2 > out 2>&1
echo "exit $?"
sed -n -e 's/ (sector [0-9]*)$//' -e '/^blkverify/p' -e '/^read/p' out | sort
rm out
