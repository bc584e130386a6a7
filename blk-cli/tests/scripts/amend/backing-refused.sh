# The backing file is changed by rebase; what is given may only be what it is.
qemu-img create -q base.raw 1M
qemu-img create -q -f qcow2 -b base.raw -F raw a.qcow2
qemu-img create -q -f qcow2 b.qcow2 1M
for options in backing_file=base.raw backing_fmt=raw backing_file=base.raw,backing_fmt=raw \
    backing_file=base.raw,backing_fmt=qcow2 backing_file=other,backing_fmt=raw backing_file=; do
    qemu-img amend -o $options a.qcow2 2>/dev/null; echo "$options: exit $?"
    qemu-img amend -o $options b.qcow2 2>/dev/null; echo "$options: exit $?"
done
qemu-img info a.qcow2 | grep backing
