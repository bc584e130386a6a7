# Smaller only if that is meant.
qemu-img create -q a.raw 2M
qemu-img resize -f raw a.raw 1M
echo "exit $?"
qemu-img resize -f raw a.raw -1M
echo "exit $?"
wc -c < a.raw
