# Options that exclude each other or need one another.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
for words in '-c -C -O qcow2' '-C -S 4k' '-c -O raw' '-m 0' '-m 17' '-m x' '-c -o preallocation=metadata -O qcow2' \
    '--skip-broken-bitmaps' '-o size=1M,foo=1 -O qcow2' '-O none' '-f none' '-f raw -O raw' '-t some' '-T some' '-T none' \
    '-B a -O qcow2' '-U -O qcow2' '-o cluster_size=100 -O qcow2' '-o compat=0.10,extended_l2=on -O qcow2'; do
    rm -f b
    echo "== $words"
    img convert $words a b | head -n 1
done
img convert
img convert a
img convert none b
img convert a none/b
rm -f b
