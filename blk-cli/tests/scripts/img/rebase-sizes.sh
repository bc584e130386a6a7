# Old and new backing files that are shorter and longer than the overlay, and end anywhere.
. "${0%/*}/../prelude"
for over in 1000448 2M; do
    for sizes in '512k 1M' '2M 700416' '1M 0' '0 1M' '1000448 1000448'; do
        for options in '' -c; do
            rm -f one two over
            set -- $sizes
            qemu-img create -q -f raw one $1
            test $1 = 0 || qemu-io -f raw -c "write -q -P 1 0 $1" one
            qemu-img create -q -f raw two $2
            test $2 = 0 || qemu-io -f raw -c "write -q -P 2 0 $2" -c 'write -q -P 1 4k 100k' two
            qemu-img create -q -f qcow2 -b one -F raw over $over
            qemu-io -c 'write -q -P 3 128k 70k' over
            qemu-img convert -O raw over before
            echo "== $over: $sizes $options"
            img rebase $options -b two -F raw over
            img compare -f qcow2 -F raw over before
            case $1 in 0 | 2M) map over ;; esac
        done
    done
done
