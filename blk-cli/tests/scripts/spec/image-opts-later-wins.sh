# Of two values the later one counts.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -r --image-opts -c 'read -P 0x51 0 1' driver=qcow2,file.filename=a.qcow2,driver=raw
echo "exit $?"
