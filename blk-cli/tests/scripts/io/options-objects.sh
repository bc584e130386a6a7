. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io --object secret,id=sec0,data=foo -c length t.qcow2
io --object nosuch,id=a -c length t.qcow2
