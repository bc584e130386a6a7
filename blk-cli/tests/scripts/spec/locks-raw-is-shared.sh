# A raw image has as many writers as come.
qemu-img create -q -f raw a.raw 64k
{ sleep 2; } | qemu-io -f raw a.raw >/dev/null 2>&1 &
sleep 1
qemu-io -f raw -c 'write -P 1 0 512' a.raw
echo "exit $?"
qemu-io -r -f raw -c 'read -P 1 0 512' a.raw
echo "exit $?"
wait
