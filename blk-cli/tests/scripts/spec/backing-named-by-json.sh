# The name of a backing file may be any specification.
qemu-img create -q -f raw base.raw 1M
qemu-io -f raw -c 'write -P 5 512 64k' base.raw
qemu-img create -q -u -f qcow2 -F raw -b 'json:{"driver":"raw","offset":512,"file":{"driver":"file","filename":"base.raw"}}' top.qcow2 512k
qemu-io -c 'read -P 5 0 64k' top.qcow2
echo "exit $?"
