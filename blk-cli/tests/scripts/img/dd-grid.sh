# Blocks of several sizes, counted and skipped, at odd ends.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
fill qcow2 a
head -c 100001 /dev/zero | tr '\0' x >odd
for source in a odd; do
    for words in bs=512 bs=1000 bs=64k 'bs=1M count=1' 'bs=100k skip=1' 'bs=100k skip=1 count=2' 'bs=100k skip=30' \
        'bs=4k count=0' 'bs=3 count=5' count=3 skip=3 'bs=1M skip=2' 'bs=1000 count=7 skip=3' 'bs=64k count=1000' \
        'count=0x10 skip=010' 'bs=2M count=1 skip=1'; do
        for format in raw qcow2; do
            rm -f out
            echo "== $source $words $format"
            img dd -O $format $words if=$source of=out
            test -e out && qemu-img info -f $format out | grep 'virtual size'
            test $format = raw && test -e out && cp out "$source $words"
        done
    done
done
