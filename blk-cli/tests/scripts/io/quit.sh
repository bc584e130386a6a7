qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c length -c quit -c length t.qcow2
echo "exit $?"
qemu-io -c q t.qcow2
echo "exit $?"
qemu-io -c foo -c q t.qcow2 2>/dev/null
echo "exit $?"
qemu-io -c 'quit 1' -c length t.qcow2 2>/dev/null
echo "exit $?"
