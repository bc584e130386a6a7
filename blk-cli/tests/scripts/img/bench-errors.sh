# What cannot be.
qemu-img create -q -f qcow2 a.qcow2 64M
for options in '-c 0' '-d 0' '-s 0' '-c x' '-w --pattern 300' '-i some' '-w -U'; do
    qemu-img bench $options a.qcow2
    echo "exit $?"
done
qemu-img bench
echo "exit $?"
qemu-img bench none.raw
echo "exit $?"
qemu-img bench -c 10 -o 100G a.qcow2 >/dev/null
echo "exit $?"
