# Counts that are written at the close only.
qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=2k a.qcow2 2M
qemu-io -c 'write -P 1 0 2M' -c 'truncate 1M' -c 'write -P 2 900k 100k' -c 'truncate 950k' a.qcow2 >/dev/null
qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
qemu-io -c 'truncate 2k' -c 'truncate 2M' -c 'read -P 1 0 2k' -c 'read -P 0 2k 2046k' a.qcow2 | grep -v ops
qemu-img check a.qcow2 | sed '/Image end/d; s/[0-9.]*% fragmented/FRAGMENTED/'
qemu-img info a.qcow2 | grep -e virtual -e lazy
