#!/bin/sh
# Makes the images of this folder with QEMU's tools: disks that our driver did not make, as scenarios start from them.
# Each becomes NAME.qcow2.zst, and what it shows NAME.raw.zst. Run it in this folder; needs qemu-img, qemu-io, zstd and python3.
set -eu
here=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# io IMAGE COMMAND...: one qemu-io for all commands.
io() {
    image=$1
    shift
    for command; do
        set -- "$@" -c "$command"
        shift
    done
    qemu-io -f qcow2 "$@" "$image" >/dev/null
}

# create NAME OPTIONS SIZE
create() { qemu-img create -q -f qcow2 -o "$2" "$1.qcow2" "$3"; }

# feature NAME OFFSET BIT: changes a bit of the big-endian 64-bit field at OFFSET.
feature() {
    python3 - "$1.qcow2" "$2" "$3" <<'PYTHON'
import sys
name, offset, bit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(name, "r+b") as file:
    file.seek(offset)
    field = int.from_bytes(file.read(8), "big") ^ 1 << bit
    file.seek(offset)
    file.write(field.to_bytes(8, "big"))
PYTHON
}

# left_in_use NAME BITMAP: sets the flag of a bitmap that its owner sets while it changes it.
left_in_use() {
    python3 - "$1.qcow2" "$2" <<'PYTHON'
import sys
with open(sys.argv[1], "r+b") as file:
    image = file.read()
    name = image.rindex(sys.argv[2].encode())
    file.seek(name - 24 + 15)
    file.write(bytes([image[name - 24 + 15] | 1]))
PYTHON
}

# Two snapshots, and changes between them and behind them.
snapshots() {
    create "$1" "$2" "$3"
    io "$1.qcow2" 'write -P 0x11 0 40k' 'write -P 0x12 100k 9k' 'write -z 60k 8k'
    qemu-img snapshot -c first "$1.qcow2"
    io "$1.qcow2" 'write -P 0x21 8k 5k' 'discard 100k 4k' 'write -c -P 0x22 128k 16k' 'write -P 0x23 250k 6k'
    qemu-img snapshot -c second "$1.qcow2"
    io "$1.qcow2" 'write -P 0x31 16k 1k' 'write -P 0x32 136k 4k'
}
snapshots snapshots cluster_size=4k 512k
snapshots snapshots-v2 cluster_size=512,compat=0.10 512k
snapshots snapshots-lazy cluster_size=16k,lazy_refcounts=on,refcount_bits=8 2M

# Subclusters of every kind, which snapshots share in part, beside a compressed cluster.
create subclusters cluster_size=16k,extended_l2=on 1M
io subclusters.qcow2 'write -P 0x91 0 40k' 'write -P 0x92 100k 9k' 'write -z 60k 8k' 'write -P 0x93 66k 512'
qemu-img snapshot -c first subclusters.qcow2
io subclusters.qcow2 'write -P 0x94 8k 5k' 'discard 96k 16k' 'write -c -P 0x95 128k 16k' 'write -P 0x96 250k 6k' \
    'write -z 1k 1k' 'write -P 0x97 500k 512'
qemu-img snapshot -c second subclusters.qcow2
io subclusters.qcow2 'write -P 0x98 16k 1k' 'write -P 0x99 800k 3k' 'write -z 501k 2k'

# Dirty bitmaps, which autoclear bit 0 vouches for.
create bitmaps cluster_size=64k 4M
qemu-img bitmap --add -g 64k bitmaps.qcow2 one
io bitmaps.qcow2 'write -P 0x41 0 100k' 'write -P 0x42 2M 64k'
qemu-img bitmap --add --disable -g 512k bitmaps.qcow2 two

# Bitmaps with tables of several entries, of small clusters, beside a snapshot. One was in use when its owner died, as its flag says.
create bitmaps-small cluster_size=512 3M
io bitmaps-small.qcow2 'write -P 0x43 0 5k' 'write -P 0x44 1M 3k'
qemu-img bitmap --add -g 512 bitmaps-small.qcow2 fine
qemu-img bitmap --add -g 4k bitmaps-small.qcow2 left
io bitmaps-small.qcow2 'write -P 0x45 2k 9k' 'write -P 0x46 2999k 2k'
qemu-img snapshot -c first bitmaps-small.qcow2
io bitmaps-small.qcow2 'write -P 0x47 4k 1k' 'write -z 1M 1k'
left_in_use bitmaps-small left

# Bitmaps that nobody vouches for any more: a program that does not know them has changed the disk.
create bitmaps-stale cluster_size=4k 512k
io bitmaps-stale.qcow2 'write -P 0x48 0 9k'
qemu-img bitmap --add -g 4k bitmaps-stale.qcow2 stale
io bitmaps-stale.qcow2 'write -P 0x49 64k 20k'
feature bitmaps-stale 88 0

# Compressed clusters as a conversion packs them: many a host cluster, and over the edges between these.
python3 - <<'PYTHON'
import hashlib
def noise(count, seed):
    out = b""
    while len(out) < count:
        out += hashlib.sha256(b"%d %d" % (seed, len(out))).digest()
    return out[:count]
with open("source.raw", "wb") as file:
    for cluster in range(12):
        file.write(noise(1500, cluster).ljust(4096, bytes([cluster])))
    file.truncate(512 << 10)
PYTHON
qemu-img convert -q -c -f raw -O qcow2 -o cluster_size=4k source.raw compressed.qcow2
qemu-img convert -q -c -f raw -O qcow2 -o cluster_size=8k,compression_type=zstd source.raw compressed-zstd.qcow2

# Bits and a header extension that nobody knows: the third compatible bit, the ninth autoclear bit, an extension of 100 bytes.
create features cluster_size=4k,refcount_bits=32 512k
io features.qcow2 'write -P 0x51 0 20k' 'write -z -u 64k 64k' 'write -P 0x52 500k 12k'
feature features 80 3
feature features 88 9
python3 - <<'PYTHON'
with open("features.qcow2", "r+b") as file:
    header = file.read(4096)
    length = int.from_bytes(header[100:104], "big")
    extension = (0x2B4C0DE5).to_bytes(4, "big") + (100).to_bytes(4, "big") + bytes(range(100)) + bytes(4)
    file.seek(0)
    file.write((header[:length] + extension + header[length:])[:4096])
PYTHON

# The narrowest and the widest refcounts, with clusters that were given back.
create narrow cluster_size=2k,refcount_bits=1 1M
io narrow.qcow2 'write -P 0x61 0 64k' 'discard 8k 16k' 'write -P 0x62 512k 3k'
create wide cluster_size=512,refcount_bits=64 256k
io wide.qcow2 'write -P 0x71 0 64k' 'discard 8k 16k' 'write -P 0x72 128k 3k'

# All allocated, and a disk that was made larger with its clusters.
create preallocated cluster_size=4k,preallocation=metadata 256k
qemu-img resize -q --preallocation=falloc preallocated.qcow2 384k
io preallocated.qcow2 'write -P 0x81 0 6k' 'write -P 0x82 300k 9k'

# Zeroes over what a snapshot has: the disk's entries are marks that keep the place of the snapshot's data.
create snapshots-zeroed cluster_size=4k 512k
io snapshots-zeroed.qcow2 'write -P 0xa1 0 48k' 'write -P 0xa2 200k 9k'
qemu-img snapshot -c first snapshots-zeroed.qcow2
io snapshots-zeroed.qcow2 'write -z 8k 16k' 'write -P 0xa3 32k 4k' 'write -z 204k 4k' 'write -z 300k 8k'

for image in *.qcow2; do
    name=${image%.qcow2}
    # The clusters of bitmaps that nobody vouches for are leaks, and nothing worse: the check ends with 3.
    qemu-img check -q "$image" || [ "$name $?" = "bitmaps-stale 3" ]
    qemu-img convert -q -f qcow2 -O raw "$image" "$name.raw"
    for file in "$image" "$name.raw"; do zstd -q -19 -f "$file" -o "$here/$file.zst"; done
    printf '%s %s\n' "$name" "$(stat -c %s "$name.raw")"
done
