# A name and options beside it: the name fills in what the options leave open.
truncate -s 1M r.raw
qemu-io -f raw -c 'write -P 1 0 512' -c 'write -P 2 512 512' r.raw
qemu-img create -q -f qcow2 q.qcow2 1M
truncate -s 512k q.qcow2
qemu-img create -q -f qcow2 -b r.raw -F raw o.qcow2 1M
: >rules
printf '[inject-error]\nevent = "none"\nerrno = "5"\n' >rules2
while IFS= read -r name; do
    while IFS= read -r options; do
        echo "$options $name"
        qemu-io -c "open -r -o $options $name" -c length -c 'read -v 0 4' 2>/dev/null </dev/null
        echo "exit $?"
    done <<'END'
driver=raw
driver=qcow2
driver=file
driver=blkdebug
driver=blkverify
driver=null-co
driver=blkdebug,align=4k
driver=blkdebug,image.driver=qcow2,align=4k
driver=blkdebug,image.driver=raw
driver=blkdebug,image.driver=file
driver=blkdebug,image.filename=r.raw
driver=blkdebug,config=rules2
driver=blkdebug,x-image=r.raw
driver=blkverify,raw.filename=r.raw
driver=blkverify,raw.driver=raw
driver=blkverify,raw.driver=raw,raw.file.filename=r.raw
driver=blkverify,x-raw=r.raw
driver=blkverify,test.driver=qcow2
driver=blkverify,x-raw=r.raw,test.driver=qcow2
file.driver=file
file.driver=blkdebug
file.driver=blkdebug,file.align=512
file.driver=raw
file.filename=r.raw
filename=r.raw
driver=file,filename=r.raw
file.locking=off
locking=off
driver=file,locking=off
driver=raw,file.driver=blkdebug,file.image.driver=file
driver=raw,file.driver=qcow2
driver=qcow2,file.driver=raw
driver=raw,file.driver=null-co
driver=raw,file=x
driver=raw,size=512
size=512
lazy-refcounts=on
driver=qcow2,backing=
driver=host_device
driver=raw,file.driver=host_device
driver=foo
driver=raw,read-only=on
driver=blkdebug,inject-error.0.event=none
driver=
file.x-image=q.qcow2,file.driver=blkdebug
image.filename=q.qcow2
END
done <<'END'
r.raw
q.qcow2
file:r.raw
blkdebug::q.qcow2
blkdebug:rules:q.qcow2
blkverify:r.raw:o.qcow2
json:{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}
json:{"driver":"file","filename":"r.raw"}
json:{"file":{"filename":"q.qcow2"}}
blkdebug:q.qcow2
json:{"size":512}
json:{'driver':'blkdebug','image.filename':'q.qcow2'}
blkdebug:

END
while IFS= read -r name; do
    for format in raw qcow2 file blkdebug blkverify null-co foo host_device; do
        echo "-f $format $name"
        qemu-io -r -f $format -c length -c 'read -v 0 4' "$name" 2>/dev/null </dev/null
        echo "exit $?"
    done
done <<'END'
r.raw
q.qcow2
file:r.raw
blkdebug::q.qcow2
blkdebug:rules:q.qcow2
blkverify:r.raw:o.qcow2
json:{"driver":"raw","file":{"driver":"file","filename":"r.raw"}}
json:{"driver":"file","filename":"r.raw"}
json:{"file":{"filename":"q.qcow2"}}
null-co://
blkdebug:q.qcow2
json:{"size":512}
json:{'driver':'blkdebug','image.filename':'q.qcow2'}
blkdebug:
END
while IFS= read -r options; do
    echo "--image-opts $options"
    qemu-io -r -c length --image-opts "$options" 2>/dev/null </dev/null
    echo "exit $?"
done <<'END'
driver=raw
driver=qcow2
driver=file
driver=blkdebug
driver=blkverify
driver=null-co
driver=blkdebug,align=4k
driver=blkdebug,image.driver=qcow2,align=4k
driver=blkdebug,image.driver=raw
driver=blkdebug,image.driver=file
driver=blkdebug,image.filename=r.raw
driver=blkdebug,config=rules2
driver=blkdebug,x-image=r.raw
driver=blkverify,raw.filename=r.raw
driver=blkverify,raw.driver=raw
driver=blkverify,raw.driver=raw,raw.file.filename=r.raw
driver=blkverify,x-raw=r.raw
driver=blkverify,test.driver=qcow2
driver=blkverify,x-raw=r.raw,test.driver=qcow2
file.driver=file
file.driver=blkdebug
file.driver=blkdebug,file.align=512
file.driver=raw
file.filename=r.raw
filename=r.raw
driver=file,filename=r.raw
file.locking=off
locking=off
driver=file,locking=off
driver=raw,file.driver=blkdebug,file.image.driver=file
driver=raw,file.driver=qcow2
driver=qcow2,file.driver=raw
driver=raw,file.driver=null-co
driver=raw,file=x
driver=raw,size=512
size=512
lazy-refcounts=on
driver=qcow2,backing=
driver=host_device
driver=raw,file.driver=host_device
driver=foo
driver=raw,read-only=on
driver=blkdebug,inject-error.0.event=none
driver=
file.x-image=q.qcow2,file.driver=blkdebug
image.filename=q.qcow2
END
