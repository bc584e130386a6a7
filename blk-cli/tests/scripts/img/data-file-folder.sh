# The name of a data file counts from where the program runs.
mkdir sub
(cd sub && qemu-img create -q -f qcow2 -o data_file=d t.qcow2 1M && qemu-io -c 'write -P 7 0 64k' t.qcow2 | grep -v ops)
qemu-io -c 'read -P 7 0 64k' sub/t.qcow2
echo "exit $?"
qemu-img create -q -f qcow2 -o data_file=sub/e sub/u.qcow2 1M
ls sub
qemu-io -c 'write -P 7 0 64k' sub/u.qcow2 | grep -v ops
rm -r sub
