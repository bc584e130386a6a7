. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
(io -c 'write -P 1 0 64k' -c 'sigraise 9' -c length t.qcow2) 2>/dev/null
(io -c 'write -P 2 64k 64k' -c 'sigraise 15' -c length t.qcow2) 2>/dev/null
io -c 'sigraise x' -c sigraise -c 'sigraise 0' -c 'sigraise 1000' -c 'sigraise -1' -c 'sigraise 1 2' -c length t.qcow2
qemu-io -c 'read -P 1 0 64k' -c 'read -P 2 64k 64k' t.qcow2
