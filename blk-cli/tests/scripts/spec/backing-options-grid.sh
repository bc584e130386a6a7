# Options for a backing file over what the image says of it.
truncate -s 1M r.raw s.raw
qemu-io -f raw -c 'write -P 1 0 512' -c 'write -P 2 512 512' r.raw
qemu-io -f raw -c 'write -P 7 0 512' -c 'write -P 8 512 512' s.raw
qemu-img create -q -f qcow2 q.qcow2 1M
truncate -s 512k q.qcow2
image() { qemu-img create -q -u -f qcow2 -b "$2" ${3:+-F $3} "$1" 1M 2>/dev/null; }
image o.qcow2 r.raw raw
image oq.qcow2 q.qcow2 qcow2
image miss.qcow2 gone.raw raw
image jr.qcow2 'json:{"driver":"raw","file":{"driver":"file","filename":"s.raw"}}' raw
image js.qcow2 "json:{'driver':'raw','file.filename':'s.raw','offset':512}" raw
image bd.qcow2 blkdebug::r.raw raw
image fi.qcow2 file:r.raw raw
for image in o oq q miss jr js bd fi; do
    qemu-io -r -c 'read -v 0 16' $image.qcow2 2>/dev/null
    echo "$image: exit $?"
    while IFS= read -r options; do
        echo "$image: $options"
        qemu-io -r -c 'read -v 0 16' "json:{'driver':'qcow2','file.filename':'$image.qcow2',$options}" 2>/dev/null </dev/null
        echo "exit $?"
    done <<'END'
'backing':null
'backing':''
'backing':'off'
'backing':'on'
'backing':'x'
'backing.driver':'raw'
'backing.driver':'qcow2'
'backing.driver':'file'
'backing.file.filename':'s.raw'
'backing.driver':'raw','backing.file.filename':'s.raw'
'backing.filename':'s.raw'
'backing.driver':'raw','backing.filename':'s.raw'
'backing.driver':'file','backing.filename':'s.raw'
'backing.offset':512
'backing.file.locking':'off'
'backing.file.driver':'file'
'backing.file.driver':'blkdebug','backing.file.image.filename':'s.raw'
'backing.driver':'null-co'
'backing.driver':'null-co','backing.read-zeroes':true
'backing.read-only':true
'backing.read-only':false
'backing.discard':'unmap'
'backing.foo':1
'backing.node-name':'n'
'backing':null,'backing.driver':'raw'
'backing':{'driver':'raw','file':{'filename':'s.raw'}}
'backing.backing':null
'backing.force-share':true
'backing.lazy-refcounts':true
END
done
rm miss.qcow2
