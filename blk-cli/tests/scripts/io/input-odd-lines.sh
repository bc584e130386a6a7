qemu-img create -q -f qcow2 t.qcow2 1M
printf 'length\0length\n' | qemu-io t.qcow2
echo
printf 'length\r\n' | qemu-io t.qcow2 2>&1
echo
printf '"length"\n'"'length'"'\nlen\\\\gth\n' | qemu-io t.qcow2 2>&1
echo
