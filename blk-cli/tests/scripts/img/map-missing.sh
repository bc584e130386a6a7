# No image.
qemu-img map none.raw
echo "exit $?"
qemu-img map
echo "exit $?"
