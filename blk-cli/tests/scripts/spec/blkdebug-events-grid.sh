# A request stops at the steps at which QEMU's stop: those of raw, of read-modify-write, of zeroes, of blkdebug as the disk itself.
# Each cell: how the image is opened, a request, a step. A request that does not stop is done before the next command.
head -c 1M /dev/zero | tr '\0' '\21' >r.raw
qemu-img create -q -f qcow2 q.qcow2 1M
qemu-io -f qcow2 -c 'write -P 3 0 1M' q.qcow2 >/dev/null
steps='read_aio write_aio pwritev_rmw_head pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero pwritev_done'
try() {
    for request in 'aio_write 0 4k' 'aio_write 100 1k' 'aio_write 0 1k' 'aio_write 100 8k' 'aio_write -z 0 4k' 'aio_write -z 100 8k' 'aio_read 100 1k'; do
        for step in $steps; do
            echo "$request: $step"
            timeout 5 stdbuf -oL qemu-io "$@" -c "break $step A" -c "$request" -c 'sleep 20' -c 'resume A' 2>/dev/null | grep -c Suspended
        done
    done
}
echo raw
try --image-opts driver=raw,file.driver=blkdebug,file.image.filename=r.raw
echo raw, aligned
try --image-opts driver=raw,file.driver=blkdebug,file.align=4096,file.image.filename=r.raw
echo blkdebug
try --image-opts driver=blkdebug,image.driver=file,image.filename=r.raw
echo blkdebug, aligned
try --image-opts driver=blkdebug,align=4096,image.driver=qcow2,image.file.filename=q.qcow2
# Every name is known, and no other.
for step in l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update l2_update_compressed \
    l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed write_aio write_compressed vmstate_load \
    vmstate_save cow_read cow_write reftable_load reftable_grow reftable_update refblock_load refblock_update \
    refblock_update_part refblock_alloc refblock_alloc_hookup refblock_alloc_write refblock_alloc_write_blocks \
    refblock_alloc_write_table refblock_alloc_switch_table cluster_alloc cluster_alloc_bytes cluster_free flush_to_os \
    flush_to_disk pwritev_rmw_head pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero \
    pwritev_done empty_image_prepare l1_shrink_write_table l1_shrink_free_l2_clusters cor_write cluster_alloc_space none \
    read-aio READ_AIO '' none_ pwrite read_aio_; do
    echo "[$step]"
    qemu-io -f raw -c "break $step A" -c 'remove_break A' blkdebug::r.raw 2>/dev/null
    echo "exit $?"
    qemu-io -r -c length --image-opts "driver=blkdebug,image.driver=file,image.filename=r.raw,inject-error.0.event=$step" 2>/dev/null
    echo "exit $?"
done
