# An option whose value is missing is told by the command.
. "${0%/*}/../prelude"
for words in 'create -f' 'create -o' 'create --object' 'convert -O' 'convert -S' 'compare -F' 'commit -b' 'rebase -F' 'map -s' \
    'measure --size' 'check -r' 'snapshot -c' 'info --output' 'dd -O' 'bench -c' 'bitmap -b' 'info --nothing' 'info --output=some'; do
    qemu-img $words 2>&1 | sed 's/:.*//' | head -n 1
done
