qemu-img create -q -f qcow2 t.qcow2 1M
printf 'length\nfoo\nlength\n' | qemu-io t.qcow2 2>&1
echo "exit $?"
printf 'read 0 x\nread 0\n' | qemu-io t.qcow2 2>&1
echo "exit $?"
printf 'read -P 1 0 512\n' | qemu-io t.qcow2 2>&1
echo "exit $?"
printf '# comment\nread 0 512\n' | qemu-io 2>&1
echo "exit $?"
