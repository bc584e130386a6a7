# The first sector is read, and compared, when the format is found out.
qemu-img create -q -f raw a.raw 1M
qemu-img create -q -f qcow2 b.qcow2 1M
qemu-io -f raw -c 'write -P 1 0 512' a.raw
qemu-io -c 'read 64k 512' blkverify:a.raw:b.qcow2 > out 2>&1
echo "exit $?"
sed -n -e 's/ (sector [0-9]*)$//' -e '/^blkverify/p' -e '/^read/p' out | sort
rm out
