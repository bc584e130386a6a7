# What a writable export tells of itself.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a.qcow2 1M
start -f qcow2 --discard=unmap a.qcow2
nbdinfo --is readonly "$uri"; echo "exit $?"
for ability in write flush fua zero "fast zero" trim cache df connect "extended headers" "structured reply"; do
  nbdinfo --can "$ability" "$uri"; echo "$ability: exit $?"
done
nbdinfo --size "$uri"
nbdinfo --json "$uri" | grep -E '"(protocol|TLS|structured|contexts|base:allocation|block_size_minimum)'
stop
