# -L: what a server exports.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
start -e 3 -x disk -D 'a disk' -f raw a.qcow2
qemu-nbd -L -k "$PWD/s" | grep -v 'size:\|opt block'; echo "exit $?"
stop
start -r -A -f qcow2 a.qcow2
qemu-nbd --list -k "$PWD/s" | grep -v 'opt block'; echo "exit $?"
stop
qemu-nbd -L -k "$PWD/gone" 2> /dev/null; echo "exit $?"
qemu-nbd -L a.qcow2 2> /dev/null; echo "exit $?"
