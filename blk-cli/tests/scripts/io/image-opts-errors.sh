. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io --image-opts -f raw -c length driver=raw,file.filename=t.qcow2
io --image-opts -c length driver=qcow2,file.filename=nosuch
io --image-opts -c length driver=nosuch,file.filename=t.qcow2
io --image-opts -c length driver=qcow2,foo=bar,file.filename=t.qcow2
