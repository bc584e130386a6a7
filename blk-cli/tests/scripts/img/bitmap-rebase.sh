# Another backing file leaves the bitmaps; what a safe rebase writes is recorded.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 old.qcow2 4M
qemu-img create -q -f qcow2 new.qcow2 4M
qemu-img create -q -f qcow2 -b old.qcow2 -F qcow2 over.qcow2
qemu-img bitmap --add over.qcow2 b
qemu-img rebase -u -b new.qcow2 -F qcow2 over.qcow2; echo "exit $?"
bitmaps over.qcow2
qemu-img rebase -u -b '' over.qcow2; echo "exit $?"
bitmaps over.qcow2
qemu-img check over.qcow2 | head -1
