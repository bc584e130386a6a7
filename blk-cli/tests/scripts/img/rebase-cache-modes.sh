# Cache modes of the image, and of the backing files.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 1M
for options in '-t none' '-t writethrough' '-t unsafe' '-t some' '-T none' '-T some' '-t directsync -T directsync'; do
    qemu-img create -q -f qcow2 -b one -F qcow2 over
    echo "== $options"
    img rebase $options -b '' over
    qemu-img info over | grep -c backing
done
