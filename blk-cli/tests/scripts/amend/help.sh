# The options that can be changed, by name and kind.
qemu-img amend -f qcow2 -o help | sed 's/ *- .*//'
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img amend -o help a.qcow2 | sed 's/ *- .*//'
qemu-img amend -o '?' a.qcow2 | head -1
