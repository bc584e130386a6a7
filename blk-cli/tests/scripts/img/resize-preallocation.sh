# What is gained is allocated at once.
qemu-img create -q a.raw 1M
qemu-img resize --preallocation=full -f raw a.raw 2M
qemu-img resize --preallocation=falloc -f raw a.raw 3M
echo "exit $?"
wc -c < a.raw
qemu-img resize --preallocation=metadata -f raw a.raw 4M
echo "exit $?"
qemu-img resize --preallocation=some -f raw a.raw 4M
echo "exit $?"
qemu-img resize --preallocation=full --shrink -f raw a.raw 1M
echo "exit $?"
