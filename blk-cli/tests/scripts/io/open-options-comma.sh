. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a,b.qcow2 1M
io -c 'open -o driver=qcow2,file.filename=a,,b.qcow2' -c length
io -c length a,b.qcow2
