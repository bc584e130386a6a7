# An overlay over an encrypted image is committed, rebased and copied.
. "${0%/*}/../prelude"
s='--object secret,id=s,data=pw'
luks='{"driver":"luks","key-secret":"s","file":{"driver":"file","filename":"base"}}'
qemu-img create -q $s -f luks -o key-secret=s,iter-time=10 base 1M
qemu-io $s --image-opts -c 'write -q -P 1 0 1M' driver=luks,key-secret=s,file.filename=base
qemu-img create -q $s -f qcow2 -b "json:$luks" -F luks over
qemu-io $s -c 'write -q -P 2 64k 64k' over
map $s over
img convert $s -O raw over raw
img commit $s over
img compare $s -f qcow2 -F raw over raw
img rebase $s -b '' over
img compare -f qcow2 -F raw over raw
qemu-img info over | grep backing
rm -f base
