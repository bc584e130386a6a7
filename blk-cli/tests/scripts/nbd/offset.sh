# -o: what follows an offset, which need not be whole sectors; past it nothing is reached.
. "${0%/*}/../prelude"
qemu-img create -q -f raw a.img 1M
qemu-io -f raw -c 'write -q -P 1 64k 64k' -c 'write -q -P 2 128k 64k' a.img
for offset in 65536 66048; do
  start -o $offset -f raw a.img
  qemu-io -f raw -c length -c 'read -q -P 1 0 63k' -c 'write -q -P 9 64k 512' "$uri"
  qemu-io -f raw -c 'write -q 960k 512' "$uri"; echo "exit $?"
  stop
done
qemu-io -r -f raw -c 'read -q -P 9 128k 1k' -c 'read -q -P 2 129k 63k' a.img
for offset in 2M -1 x; do
  qemu-nbd -o $offset -f raw -k "$PWD/s" a.img 2> /dev/null; echo "$offset: exit $?"
done
rm -f s
