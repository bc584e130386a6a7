# Several actions in one command, in their order; what comes before a failure stays.
. "${0%/*}/../prelude"
for words in '--add --remove' '--add --disable' '--add --disable --enable' '--remove --add' '--clear --disable' '--disable --clear' \
    '--add --merge other' '--merge other --clear' '--merge none --clear' '--disable --merge none' '--add' '--clear --remove --add' \
    '--enable --disable --enable'; do
    for name in b new; do
        rm -f a
        qemu-img create -q -f qcow2 a 1M
        qemu-img bitmap --add -g 64k a b
        qemu-img bitmap --add -g 64k a other
        qemu-io -c 'write -q 0 64k' a
        echo "== $words $name"
        img bitmap $words a $name
        bitmaps a
    done
done
