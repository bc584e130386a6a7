# Overlays without a size have that of the disk below, in whole sectors.
. "${0%/*}/../prelude"
for size in 0 1 511 1000 1M 1000001; do
    truncate -s $size base
    for words in '' 4M 512 '-o cluster_size=512' '-o size=1M' '-o extended_l2=on' '-o compat=0.10'; do
        rm -f over
        echo "== $size $words"
        case $words in
        -*) img create -q -f qcow2 -b base -F raw $words over ;;
        *) img create -q -f qcow2 -b base -F raw over $words ;;
        esac
        qemu-img info over | grep -e 'virtual size' -e backing
    done
done
