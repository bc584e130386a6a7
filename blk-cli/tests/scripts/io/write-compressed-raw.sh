qemu-img create -q -f raw t.raw 1M
io() {
    qemu-io "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//' output
    cat errors
    rm output errors
}
io -f raw -c 'write -c 0 512' t.raw
