# Which characters separate words, and which may stand before a number: each line with -c and on standard input.
truncate -s 4M t.raw
dd if=/dev/zero bs=512 count=8 2>/dev/null | tr '\0' a | dd of=t.raw conv=notrunc 2>/dev/null
once() {
    line=$(printf "$1.")
    line=${line%.}
    printf -- '-c %s: ' "$1"
    qemu-io -f raw -c "$line" t.raw >output 2>errors
    echo "exit $?"
    sed 's/ -- .*[a-z].*//; / ops; /d' output errors
    printf 'input %s: ' "$1"
    printf "$1\n" | qemu-io -f raw t.raw >output 2>errors
    echo "exit $?"
    sed 's/ -- .*[a-z].*//; / ops; /d' output errors
    rm output errors
}
for blank in '\t' '\v' '\r' '\302\240'; do
    for line in "read${blank}0 512" "${blank}read 0 512" "read 0${blank}512" "read 0 512${blank}" \
        "read 0 ${blank}512" "read ${blank}0 ${blank}512" "read 0 512 ${blank}" "read -P${blank}97 0 512" \
        "read -P ${blank}97 0 512" "read -P 97 -s ${blank}1 -l ${blank}5 0 512" "sleep ${blank}1" "sleep 1${blank}" \
        "write -P ${blank}0x61 ${blank}1k ${blank}1k" "discard ${blank}1M 1M" "truncate ${blank}3M" \
        "alloc ${blank}0 ${blank}1k" "readv ${blank}0 512 ${blank}512" "write -z ${blank}2M ${blank}64k" \
        "help${blank}" "read -l${blank}512 0 512" "write -P 97${blank} 0 512" "read 0 ${blank}-512" "read 0 ${blank}+512" \
        "read 0 ${blank}0x200" "read 0 ${blank}0.5k" "read 0 0x${blank}200" "read 0 0.${blank}5k" "read 0 ${blank}"; do
        once "$line"
    done
done
for line in 'read "0" 512' "read '0' 512" '"read" 0 512' 'read 0\\\\ 512' 'read 0 512   ' '   read 0 512' 'read    0    512' \
    '' ' ' '    ' 'read 0 512;length' 'read 0 512 #a' '#read 0 512' 'read 0 512 &' 'read 0 $((512))' 'read 0 \\\\t512' \
    'read \t \t' 'read -P "97" 0 512' 'read - 0 512' 'read -- 0 512' 'read 0 512 --'; do
    once "$line"
done
md5sum t.raw
