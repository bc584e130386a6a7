# The size, alone and with other options.
qemu-img create -q -f qcow2 -o compat=0.10 a.qcow2 1M
qemu-io -c 'write -P 5 0 1M' a.qcow2 >/dev/null
qemu-img amend -o size=2M,compat=1.1,lazy_refcounts=on,refcount_bits=32 a.qcow2; echo "exit $?"
qemu-img info a.qcow2 | grep -e virtual -e compat: -e lazy -e refcount
for size in 0 1000 x 3M; do
    qemu-img amend -o size=$size a.qcow2 2>/dev/null; echo "$size: exit $?"
    qemu-img info a.qcow2 | grep virtual
done
qemu-img amend -o size=4M,compat=0.10 a.qcow2 2>/dev/null; echo "exit $?"
qemu-img amend -o size=4M,compat=0.10,refcount_bits=16 a.qcow2; echo "exit $?"
qemu-io -c 'read -P 5 0 1M' -c 'read -P 0 1M 3M' a.qcow2 | grep -c failed
qemu-img info a.qcow2 | grep -e virtual -e compat:
qemu-img check a.qcow2 | head -1
