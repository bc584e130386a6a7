# A qcow2 image has one writer, and no readers meanwhile but those that share.
qemu-img create -q -f qcow2 a.qcow2 1M
mkfifo commands
: > answers
qemu-io a.qcow2 < commands > answers 2>&1 &
exec 9> commands
echo length >&9
until grep -q MiB answers; do sleep 0.1; done
qemu-io -c 'length' a.qcow2 2>&1 | grep -v '^Is another'
qemu-io -r -c 'length' a.qcow2 2>&1 | grep -v '^Is another'
qemu-io -r -U -c 'length' a.qcow2
qemu-img info a.qcow2 2>&1 | grep -v '^Is another'
exec 9>&-
wait
rm commands answers
qemu-io -c 'length' a.qcow2
echo "exit $?"
