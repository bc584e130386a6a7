# -r: clients may only read, and are told.
. "${0%/*}/../prelude"
qemu-img create -q -f raw a.img 1M
start -r -f raw a.img
nbdinfo --is readonly "$uri"; echo "exit $?"
for ability in write flush fua zero trim cache df; do
  nbdinfo --can $ability "$uri"; echo "$ability: exit $?"
done
qemu-io -f raw -c 'write 0 512' "$uri" 2> /dev/null; echo "exit $?"
qemu-io -r -f raw -c 'read -q -P 0 0 512' "$uri"
stop
