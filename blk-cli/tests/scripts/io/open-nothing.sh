. "${0%/*}/../prelude"
io -c 'read 0 512' -c length -c info -c map -c 'alloc 0' -c flush -c close -c aio_flush -c reopen -c 'break a b' -c 'zone_report 1 2' -c 'truncate 1'
io -c 'map 1 2' -c 'read 0' -c open -c 'sleep 1' -c quit
