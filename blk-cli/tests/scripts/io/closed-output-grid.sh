# What follows a broken pipe is done nonetheless, and the exit code tells of the commands only.
for format in raw qcow2; do
    image() { rm -f t.i; qemu-img create -q -f $format t.i 1M; qemu-io -f $format -c 'write -P 1 0 128k' t.i >nothing; }
    io() { qemu-io -f $format "$@" t.i; echo "exit $?" >code; }
    show() { cat code; qemu-io -f $format -c 'read -P 7 0 512' -c 'read -P 8 64k 512' t.i | grep -c failed; }
    image; io -c 'read -v 0 128k' -c 'write -P 7 0 512' 2>errors | head -n 1; show; cat errors
    image; io -c 'read -v 0 128k' -c 'read -v 0 128k' -c 'write -P 7 0 512' -c 'write -P 8 64k 512' 2>errors | head -n 1; show; cat errors
    image; printf 'read -v 0 128k\nwrite -P 7 0 512\nread -v 0 128k\nwrite -P 8 64k 512\n' | io 2>errors | head -n 1; show; cat errors
    image; printf 'read -v 0 128k\nwrite -P 7 0 512\nquit\nwrite -P 8 64k 512\n' | io 2>errors | head -n 1; show; cat errors
    image; io -c 'read -v 0 128k' -c 'foo' -c 'write -P 7 0 512' 2>errors | head -n 1; show; cat errors
    image; io -c 'read -v 0 128k' -c 'aio_write -P 7 0 512' -c 'aio_write -P 8 64k 512' -c aio_flush 2>errors | head -n 1; show; cat errors
    image; io -c 'read -v 0 128k' -c 'quit' -c 'write -P 7 0 512' 2>errors | head -n 1; show; cat errors
    image; io -c 'read -v 0 128k' -c 'read 2M 512' 2>errors | head -n 1; show; cat errors
    image; io -c 'write -P 7 0 512' 2>errors | true; show; cat errors
done
rm -f nothing t.i
