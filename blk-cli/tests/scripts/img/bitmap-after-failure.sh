# A command that fails leaves the bitmaps of what it has written in part usable.
qemu-img create -q -f qcow2 t.qcow2 1M
qemu-img bitmap --add -g 65536 t.qcow2 b
qemu-img create -q -f raw a.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' a.raw >/dev/null
printf '[inject-error]\niotype = "read"\nsector = "1024"\n' > conf
qemu-img convert -n -f raw -O qcow2 blkdebug:conf:a.raw t.qcow2 2>/dev/null
echo "exit $?"
qemu-img info t.qcow2 | sed -n '/bitmaps/,/granularity/p'
qemu-img bitmap --add --merge b t.qcow2 c
echo "exit $?"
