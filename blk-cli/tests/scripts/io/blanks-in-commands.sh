. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 t.qcow2 1M
io -c ' length' -c 'length ' -c '  read   0   512  ' -c "$(printf 'read\t0\t512')" -c "$(printf 'length\nlength')" t.qcow2
