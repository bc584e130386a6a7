# Operands that cannot be.
. "${0%/*}/../prelude"
qemu-img create -q -f qcow2 a 1M
for words in '' if=a of=o 'if=a of=o bs=0' 'if=a of=o bs=-1' 'if=a of=o bs=x' 'if=a of=o bs=4G' 'if=a of=o bs=' \
    'if=a of=o count=x' 'if=a of=o count=-1' 'if=a of=o count=1k' 'if=a of=o skip=x' 'if=a of=o skip=-1' \
    'if=a of=o isize=1' 'if=a of=o osize=1' 'if=a of=o seek=1' 'if=a of=o foo' 'if=a of=o conv=none' 'if=none of=o' \
    'if=a of=none/o' '-O none if=a of=o' '-f none if=a of=o' '-f raw -O raw if=a of=o' 'if=a if=none of=o' \
    'if=a of=x of=o' 'bs=1k bs=2k count=1 if=a of=o' '--image-opts if=driver=qcow2,file.filename=a of=o' '-U if=a of=o'; do
    rm -f o x
    echo "== $words"
    img dd $words
    test -e o && qemu-img info o | grep -e format: -e virtual
done
