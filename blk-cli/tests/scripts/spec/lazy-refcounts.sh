# Refcounts that are out of date until the close: the image says so until then, and a killed program leaves it said.
qemu-img create -q -f qcow2 -o compat=1.1,cluster_size=4k test.qcow2 1M
dirty() { qemu-img info --output=json test.qcow2 | grep -c '"dirty-flag": true'; }
lazy=driver=qcow2,lazy-refcounts=on,file.filename=test.qcow2
qemu-io --image-opts -c 'write -P 3 0 4k' -c flush $lazy
dirty
qemu-img check test.qcow2 | grep 'No errors'
(qemu-io --image-opts -c 'write -P 4 64k 4k' -c flush -c abort $lazy) >/dev/null 2>&1
dirty
qemu-io -c 'read -P 3 0 4k' -c 'read -P 4 64k 4k' -c 'write -P 5 8k 4k' test.qcow2 2>/dev/null | grep bytes
dirty
qemu-img check test.qcow2 | grep 'No errors'
