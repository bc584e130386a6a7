# Small zeroes become data on such a device, so a rule about zeroes does not meet them.
for limit in align=512 align=4096 opt-write-zero=64k,max-write-zero=64k max-transfer=4096 opt-discard=128k; do
    echo "== $limit"
    qemu-img create -q -f qcow2 t.qcow2 1M
    file=$(echo ",$limit" | sed 's/,/,file./g')
    qemu-io --image-opts -d unmap -c 'write -P 1 0 300k' -c 'write -P 2 1000 10' -c 'write -z 500k 100k' -c 'write -zu 64k 64k' -c 'discard 128k 64k' -c 'write -c -P 3 512k 64k' -c 'read -P 2 1000 10' -c 'read -P 0 64k 64k' -c 'read -P 3 512k 64k' -c map "driver=qcow2,file.driver=blkdebug,file.image.filename=t.qcow2$file"
    qemu-img check t.qcow2 | sed '/Image end/d'
    rm t.qcow2
done
qemu-img create -q -f raw t.raw 1M
rule=file.inject-error.0.event=none,file.inject-error.0.iotype=write-zeroes
qemu-io --image-opts -c 'write -z 0 4k' -c 'write -z 0 64k' "driver=raw,file.driver=blkdebug,file.image.filename=t.raw,$rule,file.opt-write-zero=64k"
echo "exit $?"
