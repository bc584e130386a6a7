# Ways to ask the host; native ones need a cache mode without the host's cache.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
for words in '' '-i threads' '-i native' '-i io_uring' '-i some' -n '-n -i threads' '-i threads -n' '-i io_uring -n' '-t none' \
    '-t directsync' '-t some'; do
    echo "== $words"
    img bench $words -c 4 -d 1 a
done
