# A raw image lies over nothing.
qemu-img create -q a.raw 1M
qemu-img create -q b.raw 1M
qemu-img rebase -f raw -u -b b.raw -F raw a.raw
echo "exit $?"
