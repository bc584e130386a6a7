# The last sector becomes whole.
printf 'something' > a.raw
qemu-img convert -f raw -O raw a.raw b.raw
wc -c < b.raw
qemu-img convert -f raw -O qcow2 a.raw b.qcow2
qemu-img compare -f raw a.raw b.qcow2
