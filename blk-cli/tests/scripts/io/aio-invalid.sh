qemu-img create -q -f qcow2 t.qcow2 1M
io() {
    qemu-io "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//' output
    cat errors
    rm output errors
}
io -c 'aio_read -i 0 512' t.qcow2
io -c 'aio_write -i 0 512' -c length t.qcow2
io -c 'aio_read -iZ x' -c length t.qcow2
