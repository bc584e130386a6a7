# Sources and targets by options.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
fill qcow2 a
qemu-img create -q -f qcow2 b 1M
img convert --image-opts -O raw driver=qcow2,file.driver=file,file.filename=a c
img convert -n --target-image-opts a driver=qcow2,file.driver=file,file.filename=b
img compare a b
img convert --image-opts -n --target-image-opts driver=raw,file.filename=c driver=qcow2,file.filename=b
img compare a b
img convert --target-image-opts a driver=qcow2,file.filename=b
img convert -n --target-image-opts -O qcow2 a driver=qcow2,file.filename=b
img convert --image-opts -f qcow2 driver=qcow2,file.filename=a c
img convert --image-opts a c
img convert -n --target-is-zero -O qcow2 a b
img convert --target-is-zero -O qcow2 a b
img convert -n -o cluster_size=512 -O qcow2 a b
