# What differs is kept compressed where it is a whole cluster, and plain where other subclusters are there.
qemu-img create -q -f raw one.raw 256k
qemu-img create -q -f raw two.raw 256k
qemu-io -f raw -c 'write -P 9 0 256k' one.raw >/dev/null
qemu-io -f raw -c 'write -P 9 0 256k' -c 'write -P 8 70k 3k' -c 'write -P 7 200k 1k' two.raw >/dev/null
qemu-img create -q -f qcow2 -o extended_l2=on -b one.raw -F raw a.qcow2 256k
qemu-io -c 'write -P 1 3k 6k' -c 'write -P 2 100k 2k' a.qcow2 >/dev/null
qemu-img rebase -c -b two.raw -F raw a.qcow2
echo "exit $?"
qemu-io -c 'read -P 9 0 3k' -c 'read -P 1 3k 6k' -c 'read -P 9 9k 91k' -c 'read -P 2 100k 2k' -c 'read -P 9 102k 154k' a.qcow2 | grep -v ops
qemu-img check -q a.qcow2; echo "check $?"
