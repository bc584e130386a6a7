# A refused reopen leaves the disk as it was; options that cannot change are refused.
qemu-img create -q -f qcow2 base.qcow2 1M
cell() { # image, options of reopen
    image=$1; shift
    rm -f t.q t.r
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 t.q 1M
    qemu-img create -q -f raw t.r 1M
    case $image in
    qcow2) set -- "$*" -f qcow2 t.q ;;
    raw) set -- "$*" -f raw t.r ;;
    readonly) set -- "$*" -r -f qcow2 t.q ;;
    filter) set -- "$*" --image-opts driver=blkdebug,align=4096,image.driver=qcow2,image.file.driver=file,image.file.filename=t.q ;;
    unlocked) set -- "$*" --image-opts driver=qcow2,file.driver=file,file.locking=off,file.filename=t.q ;;
    sized) set -- "$*" --image-opts driver=raw,size=512k,offset=64k,file.filename=t.r ;;
    named) set -- "$*" --image-opts driver=qcow2,node-name=top,file.driver=file,file.filename=t.q ;;
    esac
    words=$1; shift
    echo "== $image: $words"
    qemu-io -c 'write -P 1 0 64k' -c "reopen $words" -c 'read -P 1 0 64k' -c 'write -P 2 4k 4k' -c 'read -P 2 4k 4k' "$@" >output 2>errors
    echo "exit $?"
    sed 's/ -- .*//; / ops; /d' output
    # Hints and warnings that follow or precede the refusal are left out.
    sed '/^Optional suffix/d; /^and exabytes/d; /^Please use/d; /: warning: /d; s/^qemu-io: .*/qemu-io: refused/' errors
    rm -f output errors
}
for o in '' -r -w '-c none' '-c writeback' '-o lazy-refcounts=on' '-o lazy-refcounts=off' '-o lazy-refcounts=x' '-o l2-cache-size=64k' '-o l2-cache-size=1' \
  '-o l2-cache-size=x' '-o refcount-cache-size=256k' '-o cache-size=1M' '-o l2-cache-entry-size=4k' '-o l2-cache-entry-size=5' '-o cache-clean-interval=3' '-o overlap-check=all' '-o overlap-check=none' '-o overlap-check=foo' '-o overlap-check.template=all' '-o discard=ignore' '-o discard=unmap' '-o discard=x' \
  '-o discard-no-unref=on' '-o pass-discard-request=on' '-o pass-discard-other=x' '-o cache.direct=on' '-o cache.direct=off' '-o cache.no-flush=on' '-o cache.writeback=off' '-o cache.direct=x' '-o cache.foo=on' '-o backing=base.qcow2' '-o backing=' '-o backing=x' '-o backing.driver=qcow2' '-o backing.driver=raw' '-o backing.file.filename=x' '-o backing.node-name=x' \
  '-o file.filename=t.q' '-o file.filename=t.r' '-o file.filename=no' '-o filename=x' '-o file.driver=file' '-o file.driver=raw' '-o file.locking=off' '-o file.aio=native' '-o file.aio=threads' '-o file.x=1' '-o file=foo' '-o driver=qcow2' '-o driver=raw' '-o driver=foo' '-o driver=' '-o node-name=top' '-o node-name=x' '-o node-name=' \
  '-o read-only=on' '-o read-only=off' '-o read-only=x' '-o auto-read-only=on' '-o auto-read-only=x' '-o detect-zeroes=on' '-o detect-zeroes=unmap' '-o detect-zeroes=off' '-o detect-zeroes=x' '-o force-share=on' '-o force-share=off' '-o foo=bar' '-o foo' '-o size=512k' '-o offset=512' '-o size=x' '-o encrypt.format=luks' '-o data-file=x' '-o' '-o x=1 -o y=1' '-r -o read-only=off' '-c none -o cache.direct=on' '-o copy-on-read=on' '-r -o foo=1' '-r -o driver=raw' '-o lazy-refcounts=on,foo=1' '-o discard=ignore,discard=unmap'; do
  for i in qcow2 raw; do cell $i "$o"; done
done
for o in '' -r -w '-o read-only=off' '-o read-only=on' '-o foo=1'; do cell readonly "$o"; done
for o in '' -r '-o size=512k' '-o size=256k' '-o offset=64k' '-o offset=0' '-o size=524288' '-o file.filename=t.r' '-o file.driver=file'; do cell sized "$o"; done
for o in '' '-o node-name=top' '-o node-name=x' '-o driver=qcow2' '-o file.driver=file' '-o file.filename=t.q' '-o file.filename=x'; do cell named "$o"; done
for o in '' '-o align=4096' '-o align=512' '-o config=x' '-o image.lazy-refcounts=on' '-o image.driver=qcow2' '-o image.driver=raw' '-o driver=raw' '-o image.file.filename=t.q' '-o image.file.filename=x' '-o image.size=512'; do cell filter "$o"; done
for o in '' '-o file.locking=off' '-o file.locking=on' '-o file.locking=auto'; do cell unlocked "$o"; done
