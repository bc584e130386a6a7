. "${0%/*}/../prelude"
for name in read readv write writev aio_read aio_write discard open reopen truncate alloc map length q r zrp '?' sleep wait_break; do
    qemu-io -c "help $name" | head -n 1 | sed 's/ -- .*//'
done
io -c 'help foo' -c 'help a b' -c '? length'
