qemu-img create -q -f qcow2 t.qcow2 1M
printf 'read 0 512\nlength\n' | qemu-io t.qcow2
echo
printf 'write -P 1 0 512\nread -v 0 4' | qemu-io t.qcow2
echo
printf 'quit\nlength\n' | qemu-io t.qcow2
echo
printf '' | qemu-io t.qcow2
echo
printf '\n\n  \n' | qemu-io t.qcow2
echo
