. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c 'read' -c 'read 0' -c 'read 0 1 2' -c 'r 0 1 2' -c 'read -Z 0 1' -c 'read -a 0 1' -c 'read --foo 0 1' -c 'read -1 512' -c 'read 0 -1' t.qcow2
io -c 'read 0 -P' -c 'read -P' -c 'read -P x -Z 0 1' -c 'read -Z -P x 0 1' t.qcow2
