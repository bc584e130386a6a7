# Compressed clusters and internal snapshots.
qemu-img create -q -f qcow2 -o data_file=d t.qcow2 1M
qemu-io -c 'write -c 0 64k' t.qcow2
echo "exit $?"
qemu-img snapshot -c one t.qcow2
echo "exit $?"
qemu-img snapshot -l t.qcow2
qemu-img create -q s.raw 1M
qemu-io -f raw -c 'write -P 4 0 300k' s.raw | grep -v ops
qemu-img convert -c -O qcow2 -o data_file=c s.raw c.qcow2 2>/dev/null
echo "exit $?"
qemu-img check t.qcow2 >/dev/null
echo "exit $?"
rm -f c c.qcow2
