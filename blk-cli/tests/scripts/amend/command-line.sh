# Flags of the command, and wrong ones.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img amend -q -o compat=v2 a.qcow2; echo "exit $?"
qemu-img amend -f qcow2 -o compat=v3 -o refcount_bits=32 a.qcow2; echo "exit $?"
qemu-img amend --force -o refcount_bits=16 a.qcow2; echo "exit $?"
qemu-img amend -t writeback -o compat=0.10,compat=1.1 a.qcow2; echo "exit $?"
qemu-img amend --image-opts -o compat=0.10 driver=qcow2,file.filename=a.qcow2; echo "exit $?"
qemu-img info a.qcow2 | grep -e compat: -e refcount
qemu-img amend -t colour -o compat=1.1 a.qcow2; echo "exit $?"
qemu-img amend -o compat=1.1 missing.qcow2; echo "exit $?"
qemu-img amend -o compat=1.2 a.qcow2; echo "exit $?"
qemu-img amend -o compat a.qcow2; echo "exit $?"
qemu-img amend -p -o compat=1.1 a.qcow2 | tr '\r' '\n' | tail -1; echo
qemu-img amend -f raw -o size=2M a.qcow2; echo "exit $?"
