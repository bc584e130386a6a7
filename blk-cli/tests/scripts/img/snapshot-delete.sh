# Space of a snapshot that is deleted is free, and the others stay.
qemu-img create -q -f qcow2 a.qcow2 4M
for name in one two three; do
    qemu-io -c 'write -P 1 0 1M' a.qcow2 >/dev/null
    qemu-img snapshot -c $name a.qcow2
done
qemu-img snapshot -d two a.qcow2
echo "exit $?"
qemu-img snapshot -l a.qcow2 | sed 's/20[0-9][0-9]-[0-9-]* [0-9:]*/DATE/'
qemu-img check a.qcow2
qemu-img snapshot -d 1 a.qcow2
echo "exit $?"
qemu-img snapshot -d two a.qcow2
echo "exit $?"
qemu-img snapshot -d one a.qcow2
qemu-img snapshot -d three a.qcow2
qemu-img snapshot -l a.qcow2
qemu-img check a.qcow2
qemu-io -c 'read -P 1 0 1M' a.qcow2 | grep -v ops
