# A guest makes an image that names a file of the host of its disk, whose format was guessed: in one piece, by a header with a
# wrong byte that a request to zero makes right, and byte by byte.
printf 'a secret of the host' >secret
qemu-img create -q -f raw base 1M
qemu-img create -q -f qcow2 -u -b secret -F raw evil.qcow2 1M
head -c 64k evil.qcow2 >evil
for at in 0 3 4 7; do
    printf '\377' | dd of=evil bs=1 seek="$at" conv=notrunc status=none
    cp evil "broken-$at"
    head -c 64k evil.qcow2 >evil
done
io() {
    qemu-io "$@" 2>errors | sed 's/ -- .*//; /ops;/d'
    grep -c 'Operation not permitted' errors
}
for at in 0 3 4 7; do
    echo "== byte $at"
    head -c 64k /dev/zero >disk
    io -c "write -s broken-$at 0 64k" disk
    io -c "write -s evil 0 64k" -c "write -z $at 1" -c "write -z 0 512" disk
    qemu-img info --output=json disk | grep '"format": "raw"'
done
head -c 64k /dev/zero >disk
io -c 'write -P 0x51 0 1' -c 'write -P 0x46 1 1' -c 'write -P 0x49 2 1' -c 'write -P 0xfb 3 1' -c 'write -P 3 7 1' disk
qemu-img info --output=json disk | grep '"format": "raw"'
rm -f errors
