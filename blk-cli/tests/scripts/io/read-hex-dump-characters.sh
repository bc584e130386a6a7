printf 'a_b-1! \303\251~ZzAa09@[`{/:' >t.raw
truncate -s 512 t.raw
qemu-io -r -f raw -c 'read -v 0 48' t.raw
