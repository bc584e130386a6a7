# How far it is; nothing with -q.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 1M
fill qcow2 one
for options in -p -q '-p -q' '-u -p'; do
    qemu-img create -q -f qcow2 -b one -F qcow2 over
    img rebase $options -b '' over | tr '\r' '\n' | sed -n '1p; $p'
    map over
done
