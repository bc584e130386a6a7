# A rebase copies the subclusters in which the backing files differ.
for base in one two; do
    qemu-img create -q -f raw $base 256k
    qemu-io -f raw -c 'write -P 9 0 256k' $base >/dev/null
done
qemu-io -f raw -c 'write -P 8 70k 3k' two >/dev/null
qemu-img create -q -f qcow2 -o extended_l2=on -b one -F raw a.qcow2 256k
qemu-io -c 'write -P 1 3k 6k' a.qcow2 >/dev/null
qemu-img rebase -b two -F raw a.qcow2
qemu-io -c 'read -P 9 0 2k' -c 'read -P 1 3k 6k' -c 'read -P 9 9k 247k' a.qcow2
qemu-img check a.qcow2
