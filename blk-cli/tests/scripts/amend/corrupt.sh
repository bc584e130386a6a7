# A read that meets a misaligned entry marks the image: nobody writes to it until it is repaired.
qemu-img create -q -f qcow2 healthy.qcow2 4M
qemu-io -c 'write -P 7 0 256k' healthy.qcow2 >/dev/null
patch() { printf "$2" | dd of=a.qcow2 bs=1 seek=$1 conv=notrunc 2>/dev/null; }
# The L1 table lies at 0x30000, the L2 table at 0x40000.
for entry in 0x30006 0x40006; do
    for command in 'read 0 64k' 'write 0 4k'; do
        cp healthy.qcow2 a.qcow2
        patch $((entry)) '\002'
        qemu-io -r -c 'read 0 64k' a.qcow2 2>&1 | grep -c 'read failed'
        qemu-img info a.qcow2 | grep corrupt
        qemu-io -c "$command" a.qcow2 2>&1 | grep -c ' failed'
        qemu-img info a.qcow2 | grep corrupt
        qemu-io -c 'write 1M 64k' a.qcow2 2>/dev/null; echo "exit $?"
        qemu-img amend -o compat=0.10 a.qcow2 2>/dev/null; echo "exit $?"
        qemu-io -r -c 'read 3M 64k' a.qcow2 2>/dev/null | grep -c 'read 65536'
    done
done
# A write that would destroy a table.
for target in '\003' '\002' '\004'; do
    cp healthy.qcow2 a.qcow2
    patch $((0x40005)) "$target"
    qemu-io -c 'write 0 4k' a.qcow2 2>&1 | grep -c ' failed'
    qemu-img info a.qcow2 | grep corrupt
done
rm a.qcow2
