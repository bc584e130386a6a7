# Every way to name the snapshot that is copied.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
fill qcow2 a
qemu-img snapshot -c one a
qemu-io -c 'write -q -P 88 0 64k' -c 'discard -q 256k 64k' a
qemu-img snapshot -c two a
qemu-img snapshot -c 1 a
qemu-io -c 'write -q -P 89 0 64k' a
for words in one two 1 2 3 snapshot.id=1 snapshot.name=1 snapshot.id=2,snapshot.name=two \
    snapshot.id=1,snapshot.name=two snapshot.name=none none foo=bar snapshot.foo=bar '' snapshot.id=; do
    echo "== $words"
    img convert -l "$words" -O raw a "$words.raw" 2>/dev/null
    test -e "$words.raw" && cksum "$words.raw"
done
img convert -l one -O qcow2 a a b
