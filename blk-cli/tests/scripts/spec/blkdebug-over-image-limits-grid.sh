# How limits of a node over an image cut requests, seen by what reaches the image and by which piece a rule fails.
make() {
    qemu-img create -q -f qcow2 -o cluster_size=4k -b base -F raw over
    qemu-io -f qcow2 -c 'write -q -P 5 64k 64k' over
}
qemu-img create -q -f raw base 1M
qemu-io -f raw -c 'write -q -P 1 0 1M' base
image=driver=qcow2,file.driver=file,file.filename=over
top=driver=blkdebug,$(echo "image.$image" | sed 's/,file/,image.file/g')
rule=inject-error.0.event=none,inject-error.0.iotype
for limits in align=4k max-transfer=8k align=4k,opt-write-zero=16k opt-write-zero=8k,max-write-zero=16k align=4k,opt-discard=16k \
    opt-discard=8k,max-discard=16k max-discard=4k; do
    for request in 'write -P 2 5k 100k' 'write -z 66k 50k' 'write -zu 66k 50k' 'write -zn 66k 50k' 'write -zun 64k 64k' \
        'discard 66k 50k' 'discard 68k 20k' 'discard 100k 600k' 'read -P 5 70k 50k'; do
        for fails in '' ",$rule=write,inject-error.0.sector=132" ",$rule=discard,inject-error.0.sector=144"; do
            make
            echo "== $limits $request $fails"
            qemu-io --image-opts $top,$limits$fails -c "$request" 2>/dev/null | sed '/ ops;/d'
            qemu-img map --output=json over | sed 's/, "offset": [0-9]*//'
        done
    done
done
