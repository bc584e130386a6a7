qemu-img create -q -f qcow2 t.qcow2 1M
io() {
    qemu-io "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//' output
    cat errors
    rm output errors
}
io -c 'write -P 1 0 64k' -c 'reopen -o discard=ignore' -c 'reopen -o l2-cache-size=64k' -c 'read -P 1 0 64k' t.qcow2
