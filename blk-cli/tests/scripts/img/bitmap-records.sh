# Every kind of request is recorded, by the ranges that it names.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 16M
qemu-img bitmap --add -g 512 a.qcow2 fine
qemu-img bitmap --add -g 1M a.qcow2 coarse
qemu-io -c 'write 100 1' -c 'write 511 2' -c 'write -z 1M 64k' -c 'write -zu 2M 100' -c 'discard 3M 64k' \
    -c 'discard 3500000 4k' -c 'write -c 4M 64k' -c 'writev 5M 1k 512' -c 'aio_write 6M 3k' -c aio_flush \
    -c 'write -f 7M 512' -c 'read 8M 64k' -c 'write 16777215 1' -c 'flush' a.qcow2 >/dev/null
dirty a.qcow2 fine
dirty a.qcow2 coarse
qemu-img check a.qcow2 | head -1
