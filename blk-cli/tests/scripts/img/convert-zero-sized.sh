# A disk without a byte, as source and as target.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 0
: >raw
for words in '-O raw' '-O qcow2' '-c -O qcow2' '-O qcow2 -o preallocation=metadata' '-S 0 -O qcow2' '-O qcow2 -B a -F qcow2'; do
    for source in a raw; do
        rm -f b
        img convert $words $source b
        qemu-img info b | grep -e 'virtual size' -e 'format:'
    done
done
img convert -n -O qcow2 raw a
qemu-img create -q -f raw one 512
img convert -n -O qcow2 one a
img convert -p -O raw raw b
