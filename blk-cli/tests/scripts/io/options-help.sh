qemu-io -h | head -n 1
qemu-io --help | head -n 1
qemu-io -V | cut -c 1-20 | head -n 1
qemu-io --version >/dev/null
echo "exit $?"
