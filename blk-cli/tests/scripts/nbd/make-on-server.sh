# New images on a server: the disk keeps its size, and a larger image does not fit.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
fill qcow2 a
for words in '-O raw' '-O qcow2' '-c -O qcow2' '-O qcow2 -o cluster_size=4k'; do
    rm -f served
    qemu-img create -q -f raw served 2M
    qemu-io -f raw -c 'write -q -P 9 0 2M' served
    start -f raw served
    echo "== $words"
    img convert $words a "$uri"
    case $words in *qcow2*) format=qcow2 ;; *) format=raw ;; esac
    img compare -f qcow2 -F $format a "$uri" | grep -v '^Content'
    stop
done
start -f raw served
img dd -O qcow2 bs=64k count=4 if=a of="$uri"
qemu-img info -f qcow2 "$uri" | grep 'virtual size'
img create -q -f qcow2 "$uri" 5M
qemu-img info -f qcow2 "$uri" | grep 'virtual size'
img create -q -f raw "$uri" 1M
img create -q -f raw "$uri" 3M
img create -q -f qcow2 -o cluster_size=2M "$uri" 1M 2>/dev/null
stop
rm -f served
