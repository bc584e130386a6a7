qemu-img create -q -f qcow2 t.qcow2 1M
io() {
    qemu-io "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//' output
    cat errors
    rm output errors
}
io -c length nosuch
io -c 'open nosuch' -c 'open t.qcow2' -c length
io -c length .
io -c length ''
io -f qcow2 -c length /dev/null
