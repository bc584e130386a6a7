# To the backing file that it has, by another name and under another format.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 1M
fill qcow2 one
qemu-img create -q -f qcow2 -b one -F qcow2 over
qemu-io -c 'write -q -P 2 0 64k' over
for name in one ./one "$PWD/one" file:one; do
    img rebase -b "$name" -F qcow2 over
    qemu-img info over | grep '^backing file' | sed "s,$PWD,FOLDER,"
    map over
done
img rebase -b one -F raw over
map over | tail -n 2
