# From version 3 to version 2 and back, by each name.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -P 5 0 100k' -c 'write -z 512k 64k' a.qcow2 >/dev/null
for compat in 0.10 1.1 v2 v3 1.1 0.10 0.10; do
    qemu-img amend -o compat=$compat a.qcow2; echo "exit $?"
    qemu-img info a.qcow2 | grep -e compat: -e lazy -e corrupt -e extended -e refcount
    qemu-img check a.qcow2 | head -1
    qemu-io -c 'read -P 5 0 100k' -c 'read -P 0 100k 924k' a.qcow2 | grep -c failed
done
