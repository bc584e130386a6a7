# A switch without a value is on.
qemu-img create -f qcow2 -o lazy_refcounts a.qcow2 1M
qemu-img create -f qcow2 -o lazy_refcounts=off b.qcow2 1M
qemu-img create -f qcow2 -o lazy_refcounts=yes c.qcow2 1M
qemu-img info a.qcow2 | grep lazy
