# A repair keeps them.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 8M
qemu-img bitmap --add a.qcow2 b
qemu-io -c 'write 1M 64k' a.qcow2 >/dev/null
# A leaked cluster, behind all others.
truncate -s 2M a.qcow2
printf '\0\1' | dd of=a.qcow2 bs=1 seek=$((131072 + 2 * 31)) conv=notrunc status=none
for repair in "" "-r leaks" "-r all"; do
    qemu-img check $repair a.qcow2 >said; echo "exit $?"; grep -v -e "Image end" said
done
rm said
bitmaps a.qcow2
dirty a.qcow2 b
