# Names that are numbers, and IDs.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
for name in 2 1 1 3 x; do
    qemu-io -c "write -q -P $((pattern += 1)) 0 4k" a
    img snapshot -c $name a
done
qemu-img snapshot -l a | sed 's/ *[0-9-]* [0-9:]* *[0-9:.]* *[0-9]*$//'
for words in '-a 2' '-a 1' '-a 5' '-a 9' '-d 1' '-d 1' '-d 5' '-d x' '-a 3'; do
    echo "== $words"
    img snapshot $words a
    qemu-io -c 'read -v 0 16' a | head -n 1
done
qemu-img snapshot -l a | wc -l
qemu-img check a
