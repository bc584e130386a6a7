# Which rule fails which request of a node over an image. Each cell: a kind of operation, an event, with and without copy-on-read.
make() {
    qemu-img create -q -f qcow2 -o cluster_size=4k -b base -F raw over
    qemu-io -f qcow2 -c 'write -q -P 5 64k 64k' over
}
qemu-img create -q -f raw base 1M
qemu-io -f raw -c 'write -q -P 1 0 1M' base
image=driver=qcow2,file.driver=file,file.filename=over
top=driver=blkdebug,$(echo "image.$image" | sed 's/,file/,image.file/g')
for io in read write write-zeroes discard flush block-status any; do
    for event in none cor_write pwritev pwritev_done pwritev_zero; do
        for mode in '' -C; do
            make
            echo "== $io $event $mode"
            rule=inject-error.0.event=$event
            test $io = any || rule=$rule,inject-error.0.iotype=$io
            qemu-io $mode --image-opts $top,$rule -c 'read 0 1k' -c 'write -P 7 4k 1k' -c 'read -P 1 0 1k' -c 'write -z 8k 4k' \
                -c 'write -zu 12k 4k' -c 'discard 64k 4k' -c 'write -f 20k 1k' -c 'map' -c 'alloc 0 32k' \
                -c 'write -c 32k 4k' -c 'truncate 1040k' 2>/dev/null | sed '/ ops;/d'
            qemu-img map --output=json over | sed 's/, "offset": [0-9]*//'
        done
    done
done
