# A commit empties the disk, not its snapshots.
qemu-img create -q -f qcow2 base.qcow2 1M
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 a.qcow2
qemu-io -c 'write -P 1 0 128k' a.qcow2 >/dev/null
qemu-img snapshot -c one a.qcow2
qemu-io -c 'write -P 2 64k 128k' a.qcow2 >/dev/null
qemu-img commit -q a.qcow2
echo "exit $?"
qemu-img snapshot -l a.qcow2 | sed 's/20[0-9][0-9]-[0-9-]* [0-9:]*/DATE/'
qemu-img check -q a.qcow2; echo "check $?"
qemu-img snapshot -a one a.qcow2
qemu-io -c 'read -P 1 0 128k' -c 'read -P 2 128k 64k' a.qcow2 | grep -v ops
qemu-img check -q a.qcow2; echo "check $?"
