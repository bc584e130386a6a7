# Cache modes and rates.
. "${0%/*}/../prelude"
for options in '-t none' '-t writeback' '-t writethrough' '-t directsync' '-t unsafe' '-t some' '-r 100M' '-r 0' '-r -1' '-r x' '-r 1k'; do
    rm -f base over
    qemu-img create -q -f qcow2 base 1M
    qemu-img create -q -f qcow2 -b base -F qcow2 over
    qemu-io -c 'write -q -P 1 0 4k' over
    echo "== $options"
    timeout 5 qemu-img commit $options over 2>&1
    test $? -le 1 && map base
done
