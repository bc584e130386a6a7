#!/bin/bash -eu
# Licensed under the MIT license or the Apache License, Version 2.0
# (http://www.apache.org/licenses/LICENSE-2.0), at your option.
#
# Builds the fuzz targets for ClusterFuzzLite and OSS-Fuzz, in the folder of the repository. $OUT gets each
# target with its seeds, dictionary and options; $SANITIZER is none, address or coverage.

if [ "${FUZZING_ENGINE:-libfuzzer}" != libfuzzer ]; then
    echo "build.sh: the targets are built for libFuzzer, not for $FUZZING_ENGINE" >&2
    exit 1
fi

# The flags are meant for the targets: what builds them runs here, and cannot have a sanitizer.
flags=${RUSTFLAGS-}
unset RUSTFLAGS
cargo build --package xtask
if [ -n "$flags" ]; then
    export RUSTFLAGS=$flags
fi
exec "${CARGO_TARGET_DIR:-target}/debug/xtask" ship --sanitizer "$SANITIZER" "$OUT"
