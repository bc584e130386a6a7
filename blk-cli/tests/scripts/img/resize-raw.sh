# A raw image, larger and smaller.
qemu-img create -q a.raw 1M
qemu-img resize -f raw a.raw 2M
echo "exit $?"
qemu-img resize -f raw a.raw +1M
wc -c < a.raw
qemu-img resize -f raw --shrink a.raw -2M
echo "exit $?"
wc -c < a.raw
qemu-img resize -q -f raw a.raw 3M
wc -c < a.raw
