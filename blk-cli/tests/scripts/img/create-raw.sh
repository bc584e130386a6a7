# A raw image, and what is said about it.
qemu-img create -f raw a.raw 1M
echo "exit $?"
qemu-img create b.raw 64k
wc -c < a.raw
wc -c < b.raw
