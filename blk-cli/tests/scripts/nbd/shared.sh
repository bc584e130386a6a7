# -e: several clients at a time, and what they are told of it.
. "${0%/*}/../prelude"
qemu-img create -q -f raw a.img 1M
for shared in 2 0; do
  start -e $shared -f raw a.img
  nbdinfo --can multi-conn "$uri"; echo "$shared: exit $?"
  stop
done
qemu-nbd -e -1 -f raw -k "$PWD/s" a.img 2> /dev/null; echo "exit $?"
qemu-nbd -e many -f raw -k "$PWD/s" a.img 2> /dev/null; echo "exit $?"
