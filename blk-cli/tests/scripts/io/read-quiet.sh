qemu-img create -q -f qcow2 t.qcow2 1M
io() {
    qemu-io "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//' output
    cat errors
    rm output errors
}
io -c 'read -q 0 512' -c 'read -qv 0 16' -c 'read -qC 0 512' -c 'read -q -P 1 0 512' t.qcow2
