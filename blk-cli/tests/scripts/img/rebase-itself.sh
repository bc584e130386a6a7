# To itself, to an overlay of it, and to what is not there.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 1M
qemu-img create -q -f qcow2 -b one -F qcow2 over
qemu-img create -q -f qcow2 -b over -F qcow2 above
for backing in none . '' one/none; do
    img rebase -b "$backing" ${backing:+-F qcow2} over 2>/dev/null
done
img rebase -b one -F some over
img rebase -b one over
img rebase -u -b one over
img rebase -F qcow2 over
img rebase over
img rebase -u over
img rebase -b one -F qcow2
img rebase -b one -F qcow2 none
img rebase -f raw -b one -F qcow2 over
img rebase -b one -F qcow2 over above
