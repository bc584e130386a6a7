# Formats and versions that have none.
qemu-img create -q -f raw a.raw 1M
qemu-img create -q -f qcow2 -o compat=0.10 v2.qcow2 1M
for action in --add --remove --clear --enable --disable '--merge x'; do
    qemu-img bitmap $action -f raw a.raw b; echo "$action: exit $?"
    qemu-img bitmap $action -f qcow2 v2.qcow2 b; echo "$action: exit $?"
    qemu-img bitmap $action missing.qcow2 b; echo "$action: exit $?"
done
qemu-img check v2.qcow2 | head -1
