# The name of the disk below counts from the folder of the new image.
mkdir sub
qemu-img create -q -f raw sub/base.raw 1M
qemu-img create -f qcow2 -b base.raw -F raw sub/top.qcow2
echo "exit $?"
qemu-img create -f qcow2 -b sub/base.raw -F raw sub/top2.qcow2 2>/dev/null
echo "exit $?"
qemu-img info sub/top.qcow2 | grep backing
