# Disks of several lengths: what only the longer one has counts unless it is zeroes.
. "${0%/*}/../prelude"
for size in 512 64k 100k 1000448 2M; do
    qemu-img create -q -f qcow2 $size.q $size
    qemu-img create -q -f raw $size.r $size
done
qemu-io -c 'write -q -P 1 2000k 512' 2M.q
qemu-io -c 'write -q -P 0 90k 4k' 100k.q
qemu-io -f raw -c 'write -q -P 1 1000000 448' 1000448.r
for one in *.q; do
    for other in *; do
        for words in '' -s -q; do
            echo "== $words $one $other"
            img compare $words -f qcow2 -F "$(case $other in *.q) echo qcow2 ;; *) echo raw ;; esac)" $one $other
        done
    done
done
