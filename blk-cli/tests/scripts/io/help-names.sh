qemu-io -c help | sed 's/ -- .*//' | head -n 31
qemu-io -c '?' | wc -l
echo "exit $?"
