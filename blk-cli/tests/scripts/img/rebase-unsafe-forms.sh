# -u takes every name as it is, and the format with it.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 one 1M
for compat in 0.10 1.1; do
    qemu-img create -q -f qcow2 -o compat=$compat -b one -F qcow2 over 2>/dev/null
    for words in '-b none -F qcow2' '-b none -F raw' '-b json:{} -F raw' '-b nbd://localhost/x -F raw' '-F qcow2' ''; do
        echo "== $compat $words"
        img rebase -u $words over
        qemu-img info over 2>/dev/null | grep '^backing file'
    done
done
