qemu-img create -q -f qcow2 t.qcow2 1M
qemu-io -c 'write -P 1 1 1' -c 'write -P 2 65535 2' -c 'write -P 3 1048575 1' -c 'read -v 0 4' -c 'read -v 65532 8' -c 'read -v 1048572 4' -c map t.qcow2
