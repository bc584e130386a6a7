qemu-img create -q -f qcow2 t.qcow2 1M
for arguments in --foo -Z -c '--read-only=1 t.qcow2' '-f' 't.qcow2 t.qcow2'; do
    qemu-io $arguments >output 2>errors
    echo "exit $?"
    head -n 1 output
    cat errors
done
rm output errors
