# Only an image that can.
qemu-img create -q -f raw a.raw 1M
qemu-img snapshot -f raw -c x a.raw
echo "exit $?"
qemu-img snapshot -f raw -a x a.raw
echo "exit $?"
qemu-img snapshot -f raw -l a.raw
echo "exit $?"
qemu-img convert -f raw -l x -O raw a.raw b.raw
echo "exit $?"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img snapshot -U -c x a.qcow2
echo "exit $?"
qemu-img snapshot -q -c x a.qcow2
echo "exit $?"
qemu-img snapshot -U -l a.qcow2 | sed 's/20[0-9][0-9]-[0-9-]* [0-9:]*/DATE/'
