. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'open -o driver=qcow2 t.qcow2' -c length -c close -c 'open -o driver=raw t.qcow2' -c info -c close -c 'open -o foo=bar t.qcow2' -c 'open -o driver=qcow2,foo=bar t.qcow2'
