# -x and -D: an export has a name and a description, and no other name is served.
. "${0%/*}/../prelude"
qemu-img create -q -f raw a.img 1M
start -x disk/one -D 'a disk, as a test' -f raw a.img
nbdinfo --json --list "$uri" | grep -E '"(export-name|description|export-size|is_read_only)"'
qemu-io -f raw -c length "nbd+unix:///disk%2Fone?socket=$PWD/s"
qemu-io -f raw -c length "nbd+unix:///disk/one?socket=$PWD/s"
qemu-io -f raw -c length "nbd:unix:$PWD/s:exportname=disk/one"
qemu-io --image-opts -c length "driver=nbd,server.type=unix,server.path=$PWD/s,export=disk/one"
qemu-io -f raw -c length "nbd+unix:///two?socket=$PWD/s" 2> /dev/null; echo "exit $?"
stop
qemu-nbd -x "$(printf '%04097d' 1)" -f raw -k "$PWD/s" a.img 2> /dev/null; echo "exit $?"
qemu-nbd -D "$(printf '%04097d' 1)" -f raw -k "$PWD/s" a.img 2> /dev/null; echo "exit $?"
