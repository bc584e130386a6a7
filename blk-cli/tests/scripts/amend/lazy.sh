# Lazy refcounts, which version 2 does not have.
qemu-img create -q -f qcow2 a.qcow2 1M
for lazy in on on off on; do
    qemu-img amend -o lazy_refcounts=$lazy a.qcow2; echo "exit $?"
    qemu-img info a.qcow2 | grep lazy
done
qemu-io -c 'write 0 64k' -c 'abort' a.qcow2 >/dev/null 2>&1
qemu-img amend -o lazy_refcounts=off a.qcow2 2>/dev/null; echo "exit $?"
qemu-img check a.qcow2 | head -1
qemu-img amend -o lazy_refcounts=on,compat=0.10 a.qcow2 2>/dev/null; echo "exit $?"
qemu-img amend -o lazy_refcounts=on a.qcow2
qemu-img amend -o compat=0.10 a.qcow2; echo "exit $?"
qemu-img amend -o lazy_refcounts=on a.qcow2 2>/dev/null; echo "exit $?"
qemu-img amend -o lazy_refcounts=off a.qcow2; echo "exit $?"
qemu-img amend -o compat=1.1 a.qcow2; echo "exit $?"
qemu-img info a.qcow2 | grep -e compat: -e lazy
