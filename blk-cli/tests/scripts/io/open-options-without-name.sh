. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'open -o driver=qcow2,file.filename=t.qcow2' -c length -c close -c 'open -o driver=qcow2,file.driver=file,file.filename=t.qcow2' -c length -c close -c 'open -o driver=raw -o file.filename=t.qcow2' -c info
