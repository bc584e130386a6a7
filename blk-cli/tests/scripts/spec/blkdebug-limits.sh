qemu-img create -q -f raw t.raw 1M
qemu-io -f raw -c 'write -P 1 0 1M' t.raw
io() {
    options=$1
    shift
    echo "== $options"
    qemu-io --image-opts "$@" "driver=raw,file.driver=blkdebug,file.image.filename=t.raw,$options"
    echo "exit $?"
}
io file.align=4096 -c 'write -P 2 1000 5000' -c 'read -P 1 0 1000' -c 'read -P 2 1000 5000' -c 'read -P 1 6000 1000'
io file.align=512,file.max-transfer=1024 -c 'write -P 3 10000 50000' -c 'read -P 3 10000 50000' -c 'write -z 20000 9999' -c 'read -P 0 20000 9999'
io file.opt-write-zero=64k,file.max-write-zero=128k -c 'write -z 100000 500000' -c 'read -P 0 100000 500000' -c 'read -P 1 600000 1000'
io file.align=4k,file.opt-discard=64k,file.max-discard=64k -d unmap -c 'discard 0 256k' -c 'read -P 0 0 256k'
io file.align=0,file.max-transfer=0 -c 'read -P 0 0 512'
for wrong in file.align=3 file.align=2G file.align=4k,file.max-transfer=6k file.max-transfer=4G file.align=512,file.opt-write-zero=700 file.opt-write-zero=4k,file.max-write-zero=6k file.opt-discard=3G file.opt-discard=3k,file.max-discard=4k; do
    io $wrong -c 'read 0 512'
done
