# Which node has the break point, and which one copies: a request stops where QEMU's does, and the same is copied.
# Each cell: how the image is opened, a request, a step. A request that does not stop is done before the next command.
make() {
    qemu-img create -q -f raw base 1M
    qemu-io -f raw -c 'write -q -P 1 0 1M' -c 'write -q -z 512k 64k' base
    qemu-img create -q -f qcow2 -b base -F raw over
    qemu-io -f qcow2 -c 'write -q -P 5 64k 4k' over
}
below() { echo "$1.driver=qcow2,$1.file.driver=file,$1.file.filename=over"; }
try() {
    echo "== $*"
    for step in $steps; do
        for request in 'aio_read 0 4k' 'aio_read 60k 8k' 'aio_read 512k 4k' 'aio_write -P 2 100 1k' 'aio_write -z 4k 64k' aio_flush; do
            echo "$request: $step"
            timeout 3 stdbuf -oL qemu-io --object throttle-group,id=g "$@" -c "break $step A" -c "$request" -c 'sleep 30' \
                -c 'resume A' 2>/dev/null | grep -c Suspended
        done
    done
    qemu-io -c map over | sed '/ops;/d'
    make
}
make
top=driver=blkdebug,$(below image)
steps='cor_write pwritev pwritev_zero pwritev_done'
try -C --image-opts $top
try --image-opts $top
try --image-opts driver=copy-on-read,file.driver=blkdebug,$(below file.image)
try -C --image-opts driver=copy-on-read,file.driver=blkdebug,$(below file.image)
try -C --image-opts driver=throttle,throttle-group=g,file.driver=blkdebug,$(below file.image)
try --image-opts driver=blkdebug,image.driver=copy-on-read,$(below image.file)
try -C --image-opts driver=blkdebug,image.driver=blkdebug,$(below image.image)
try -C --image-opts $top,max-transfer=64k
try -s -C --image-opts $top
try -C --image-opts driver=qcow2,file.driver=blkdebug,file.image.filename=over
# A step of the image below is none of the node's.
steps='read_aio cow_write flush_to_os flush_to_disk'
try -C --image-opts $top
steps='cor_write pwritev pwritev_done pwritev_rmw_head pwritev_rmw_after_tail'
try -C --image-opts $top,align=4k
for command in info check map 'map --output=json' 'snapshot -l' measure 'resize -q' 'info -U --output=json'; do
    size=
    case $command in resize*) size=2M ;; esac
    qemu-img $command --image-opts $top $size >out 2>/dev/null
    echo "$command: $?"
    case $command in map*) cat out ;; info) sed 2q out ;; esac
    rm out
done
qemu-img compare --image-opts $top $top
qemu-img convert -q -O raw --image-opts $top copy
qemu-io -c info --image-opts $top | sed -n 1p
qemu-io -C -c 'open -o driver=blkdebug,image.driver=qcow2 blkdebug::over' -c 'write -c 0 64k' -c 'truncate -m metadata 3M' -c length \
    -c 'alloc 0 1M' 2>/dev/null
