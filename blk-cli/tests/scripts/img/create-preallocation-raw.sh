# A raw file that is allocated at once.
qemu-img create -f raw -o preallocation=full full.raw 1M
qemu-img create -f raw -o preallocation=falloc falloc.raw 1M
qemu-img create -f raw -o preallocation=off off.raw 1M
qemu-img create -f raw -o preallocation=metadata no.raw 1M
echo "exit $?"
rm -f no.raw
qemu-img map --output=json full.raw
