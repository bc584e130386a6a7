. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
: >empty
mkdir folder
io -c 'write -s empty 0 10' -c 'write -s nosuch 0 10' -c 'write -s folder 0 10' -c 'write -s empty 0 0' t.qcow2
