. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io --image-opts -c length -c close -c 'open driver=qcow2,file.filename=t.qcow2' -c length -c close -c 'open -o driver=raw t.qcow2' -c 'open driver=raw,file.filename=t.qcow2' -c info driver=qcow2,file.filename=t.qcow2
