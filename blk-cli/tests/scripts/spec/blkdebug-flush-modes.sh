# Whether a flush reaches a node, and fails there, is said by the cache mode: nothing is flushed with unsafe.
qemu-img create -q -f raw r 1M
qemu-img create -q -f qcow2 q 1M
head -c 64K /dev/zero | tr '\0' a >src
over=driver=blkdebug,image.driver
for mode in writeback none unsafe; do
    for event in none flush_to_disk flush_to_os write_aio pwritev; do
        rule=inject-error.0.event=$event,inject-error.0.iotype=flush
        for spec in driver=raw,file.$over=file,file.image.filename=r,file.$(echo $rule | sed 's/,/,file./') \
            $over=file,image.filename=r,$rule $over=raw,image.file.driver=file,image.file.filename=r,$rule \
            $over=qcow2,image.file.driver=file,image.file.filename=q,$rule; do
            for switch in '' cache.no-flush=on,; do
                echo "== $mode $switch$spec"
                qemu-io -t $mode --image-opts $switch$spec -c flush -c 'write 0 4k' -c flush -c flush -c 'discard 0 4k' \
                    -c 'write -z 0 4k' -c flush 2>/dev/null | sed '/ ops;/d; /flush failed/d'
            done
        done
    done
done
target=driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=out,file.inject-error.0.event=flush_to_disk
for mode in '' '-t unsafe'; do
    qemu-img create -q -f raw out 64K
    qemu-img convert -n $mode --target-image-opts src $target
    echo "[$mode] $?"
    cmp src out
done
