# Targets that exist, or that can have none.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img bitmap --add a.qcow2 b
qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1M
qemu-img create -q -f qcow2 same.qcow2 1M
qemu-img create -q -f qcow2 more.qcow2 2M
qemu-img create -q -f qcow2 there.qcow2 1M
qemu-img bitmap --add -g 4k there.qcow2 b
for target in v2 same more there; do
    qemu-img convert --bitmaps -n -O qcow2 a.qcow2 $target.qcow2; echo "$target: exit $?"; bitmaps $target.qcow2
done
qemu-img convert --bitmaps -O qcow2 v2.qcow2 new.qcow2; echo "exit $?"; ls
