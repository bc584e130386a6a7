# -s: what clients write is gone with the server.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -c 'write -q -P 1 0 64k' a.qcow2
start -s -f qcow2 a.qcow2
qemu-io -f raw -c 'write -q -P 2 0 4k' -c 'read -q -P 2 0 4k' -c 'read -q -P 1 4k 60k' "$uri"
qemu-io -f raw -c 'read -q -P 2 0 4k' "$uri"
stop
qemu-io -r -c 'read -q -P 1 0 64k' a.qcow2
