# A raw image lies over nothing; a format needs a file.
qemu-img create -q -f raw base.raw 1M
qemu-img create -f raw -b base.raw -F raw top.raw
echo "exit $?"
qemu-img create -f qcow2 -F raw top.qcow2 1M
echo "exit $?"
qemu-img create -f qcow2 -b "" top.qcow2 1M
echo "exit $?"
ls
