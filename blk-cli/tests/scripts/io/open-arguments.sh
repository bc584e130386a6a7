qemu-img create -q -f qcow2 t.qcow2 1M
io() {
    qemu-io "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//' output
    cat errors
    rm output errors
}
io -c open -c 'open -x t.qcow2' -c 'open -o' -c 'open t.qcow2 t.qcow2' -c 'open -r' -c 'open -t' t.qcow2
io -c 'open t.qcow2 t.qcow2' -c 'open -r'
