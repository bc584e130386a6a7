# A request that fails may have changed something: it is recorded.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 4M
qemu-img bitmap --add a.qcow2 b
cat >rules <<END
[inject-error]
event = "write_aio"
errno = "5"
once = "on"
END
qemu-io -c 'write 1M 64k' -c 'write 2M 64k' blkdebug:rules:a.qcow2 2>&1 | sed 's/.*wrote.*/wrote/;/ops/d'
dirty a.qcow2 b
