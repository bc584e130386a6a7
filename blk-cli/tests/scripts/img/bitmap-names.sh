# What a bitmap can be called.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
longest=$(printf 'n%.0s' $(seq 1023))
for name in "a b" "b/c" "ü" "$longest" "" "x$longest" "-dash" "a,b=c"; do
    qemu-img bitmap --add a.qcow2 -- "$name" 2>&1 | cut -c1-20 | sed 's/.*: .*/failed/'
done
qemu-img bitmap --add a.qcow2 "a b" ; echo "exit $?"
bitmaps a.qcow2
for name in "a b" "b/c" "$longest"; do qemu-img bitmap --remove a.qcow2 "$name"; echo "exit $?"; done
bitmaps a.qcow2
qemu-img check a.qcow2 | head -1
