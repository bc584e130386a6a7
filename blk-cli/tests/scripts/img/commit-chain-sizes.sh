# Each disk of a chain has another size than the one below.
. "${0%/*}/../prelude"
for sizes in '1M 1M 1M' '2M 1M 600k' '512k 1M 2M' '2M 512k 1M' '512k 2M 1M' '1M 2M 2M'; do
    for options in '' '-d' '-b base' '-b mid' '-d -b base'; do
        rm -f base mid top
        set -- $sizes
        qemu-img create -q -f qcow2 base $1
        qemu-io -c 'write -q -P 1 0 300k' -c 'write -q -P 1 400k 100k' base
        test $1 = 512k || qemu-io -c 'write -q -P 1 900k 100k' base
        qemu-img create -q -f qcow2 -b base -F qcow2 mid $2
        qemu-io -c 'write -q -P 5 100k 70k' mid
        qemu-img create -q -f qcow2 -b mid -F qcow2 top $3
        qemu-io -c 'write -q -P 9 120k 5k' -c 'write -q -z 400k 70k' -c 'write -q -P 3 500k 70k' top
        echo "== $sizes: $options"
        img commit $options top
        map top
        qemu-img convert -O raw base "$sizes $options.raw"
        for file in base mid; do qemu-img info $file | grep 'virtual size'; done
    done
done
