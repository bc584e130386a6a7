# Sources whose sectors cannot be read.
. "${0%/*}/../prelude"
qemu-img create -q -f raw a 1M
fill raw a
for sector in 0 3 199 700 1400; do
    printf '[inject-error]\nevent = "read_aio"\nsector = "%s"\nonce = "off"\n' $sector >rules
    source=driver=raw,file.driver=blkdebug,file.config=rules,file.image.driver=file,file.image.filename=a
    for words in '--salvage -O raw' '--salvage -O qcow2' '--salvage -q -O raw' '--salvage -c -O qcow2' \
        '--salvage -m 1 -O raw' '--salvage -W -O raw' '--salvage -S 0 -O raw'; do
        rm -f b
        img convert $words --image-opts $source b 2>/dev/null
        qemu-img convert -O raw b "$sector $words" 2>/dev/null
    done
    img convert -q --salvage -O raw --image-opts $source b
    img convert -O raw --image-opts $source c 2>/dev/null
    rm -f c
done
rm rules
