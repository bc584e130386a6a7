# No image, or too many of them.
qemu-img info none.raw
echo "exit $?"
qemu-img info
echo "exit $?"
qemu-img info a b
echo "exit $?"
