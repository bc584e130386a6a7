# -f counts more than the driver of a json: name.
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-io -r -f raw -c 'read -P 0x51 0 1' 'json:{"driver":"qcow2","file.driver":"file","file.filename":"a.qcow2"}'
echo "exit $?"
