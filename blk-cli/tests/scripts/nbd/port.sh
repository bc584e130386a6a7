# -p and -b: a port of this host.
qemu-img create -q -f raw a.img 1M
# Below those that the kernel gives to others.
port=$((20000 + $$ % 12000))
qemu-nbd --fork --pid-file="$PWD/pid" -t -b 127.0.0.1 -p $port -f raw a.img; echo "exit $?"
qemu-io -f raw -c 'write -q -P 3 0 512' -c 'read -q -P 3 0 512' "nbd://127.0.0.1:$port/"
qemu-io -f raw -c 'read -q -P 3 0 512' "nbd://localhost:$port"
qemu-io -f raw -c 'read -q -P 3 0 512' "nbd:127.0.0.1:$port"
qemu-io -f raw -c 'read -q -P 4 0 512' "nbd:127.0.0.1:$port"
qemu-img convert -f raw -O raw "nbd://127.0.0.1:$port" b.img && cmp a.img b.img
qemu-nbd -L -b 127.0.0.1 -p $port | grep -E 'exports|size'
kill "$(cat pid)"; rm pid
