# A relative backing file lies beside the image.
mkdir sub
qemu-img create -q -f raw sub/base.raw 1M
qemu-io -f raw -c 'write -P 5 0 64k' sub/base.raw
(cd sub && qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2)
qemu-io -c 'read -P 5 0 64k' -c 'write -P 6 0 4k' -c 'read -P 6 0 4k' -c 'read -P 5 4k 60k' sub/top.qcow2
echo "exit $?"
qemu-img info --backing-chain sub/top.qcow2 | grep -e image: -e 'file format' -e 'backing file'
