# Sizes in whole sectors, three digits and a unit.
. "${0%/*}/../prelude"
for size in 1 511 1000 1023 999999 1048575 1073741823 10737418240; do
    truncate -s $size a.raw
    info a.raw
done
