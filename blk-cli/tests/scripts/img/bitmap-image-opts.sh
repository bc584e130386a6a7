# The image by options.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --image-opts --add driver=qcow2,file.filename=a.qcow2 b; echo "exit $?"
qemu-img bitmap --image-opts --disable file.filename=a.qcow2,driver=qcow2 b; echo "exit $?"
qemu-img bitmap --image-opts -f qcow2 --disable file.filename=a.qcow2,driver=qcow2 b; echo "exit $?"
qemu-img bitmap -f raw --disable a.qcow2 b; echo "exit $?"
qemu-img bitmap -f qcow2 --ena a.qcow2 b; echo "exit $?"
bitmaps a.qcow2
