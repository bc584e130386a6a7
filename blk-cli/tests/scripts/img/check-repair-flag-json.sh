# A copied flag is set again, for programs.
qemu-img create -q -f qcow2 a.qcow2 64M
qemu-io -c 'write 0 128k' -c 'write 1M 64k' -c 'write -z 2M 64k' a.qcow2 >/dev/null
printf '\000' | dd of=a.qcow2 bs=1 seek=$((0x40000)) conv=notrunc 2>/dev/null
qemu-img check -r all --output=json a.qcow2 2>/dev/null
echo "exit $?"
