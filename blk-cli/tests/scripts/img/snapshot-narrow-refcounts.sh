# Counts that cannot rise.
for bits in 1 2; do
    qemu-img create -q -f qcow2 -o refcount_bits=$bits a.qcow2 1M
    qemu-io -c 'write -P 1 0 64k' a.qcow2 >/dev/null
    for name in a b c; do
        qemu-img snapshot -c $name a.qcow2
        echo "$bits $name exit $?"
    done
    qemu-img snapshot -l a.qcow2 | sed 's/20[0-9][0-9]-[0-9-]* [0-9:]*/DATE/'
    qemu-img check -q -r leaks a.qcow2 >/dev/null 2>&1
    qemu-io -c 'read -P 1 0 64k' a.qcow2 | grep -v ops
done
