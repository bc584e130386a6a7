qemu-img create -q -f qcow2 a,b.qcow2 1M
io() {
    qemu-io "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//' output
    cat errors
    rm output errors
}
io -c 'open -o driver=qcow2,file.filename=a,,b.qcow2' -c length
io -c length a,b.qcow2
