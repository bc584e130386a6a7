# Another backing file leaves the bitmaps; what a safe rebase writes is recorded.
list() { qemu-img info "$1" | sed -n "/bitmaps:/,/refcount/p"; }

qemu-img create -q -f qcow2 old.qcow2 4M
qemu-img create -q -f qcow2 new.qcow2 4M
qemu-img create -q -f qcow2 -b old.qcow2 -F qcow2 over.qcow2
qemu-img bitmap --add over.qcow2 b
qemu-img rebase -u -b new.qcow2 -F qcow2 over.qcow2; echo "exit $?"
list over.qcow2
qemu-img rebase -u -b '' over.qcow2; echo "exit $?"
list over.qcow2
qemu-img check over.qcow2 | head -1
