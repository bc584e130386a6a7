# Snapshots inside an image; they are made by the real program, or left out.
. "${0%/*}/../prelude"
qemu-img create -q a.raw 1M
info a.raw | grep -c Snapshot
qemu-img snapshot -l a.raw
echo "exit $?"
