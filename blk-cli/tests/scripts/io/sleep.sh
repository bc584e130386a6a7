. "${0%/*}/../prelude"
io -c 'sleep 1' -c 'sleep 0x1' -c 'sleep 01' -c 'sleep 0' -c 'sleep +1'
io -c sleep -c 'sleep x' -c 'sleep -1' -c 'sleep 1 1' -c 'sleep 1k' -c 'sleep 1.0' -c 'sleep 08'
