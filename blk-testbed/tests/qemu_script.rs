//! The script for QEMU's tools that a finding comes with.

use blk_harness::scenario::Scenario;
use blk_testbed::qemu_io_script;
use expect_test::expect;

#[test]
fn a_script_for_qemus_tools() {
    let text = "blk-scenario 1\nconfig size-bytes=256k cluster_size=512 backing=chain backing-bytes=5k \
                compression_type=zstd l2-cache-slices=2 l2-cache-entry-size=512 refcount-cache-slices=4\n\
                write 0 4k\nwrite -P 0x80 512 512\nreopen\nwrite -zu 0 1k\nmap 0 4k\ncheck\nread 0 4k\n";
    let scenario = Scenario::from_text(text).unwrap();
    expect![[r#"
        #!/bin/sh
        set -e
        qemu-img create -q -f raw base.raw 5120
        qemu-io -f raw -c 'write -q -P 0xbb 0 5120' base.raw
        qemu-img create -q -f qcow2 -b base.raw -F raw -o compat=1.1,cluster_size=512,refcount_bits=16,compression_type=zstd middle.qcow2 5120
        i=0; while [ $i -lt 10 ]; do qemu-io -c "write -q -P 0xbf $((i * 512)) 512" middle.qcow2; i=$((i + 2)); done
        qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 -o compat=1.1,cluster_size=512,refcount_bits=16,compression_type=zstd test.qcow2 262144
        qemu-io --image-opts driver=qcow2,file.driver=file,file.filename=test.qcow2,discard=unmap,l2-cache-entry-size=512,l2-cache-size=1024,refcount-cache-size=2048 \
            -c 'write -P 0x01 0 4k' \
            -c 'write -P 0x80 512 512'
        qemu-io --image-opts driver=qcow2,file.driver=file,file.filename=test.qcow2,discard=unmap,l2-cache-entry-size=512,l2-cache-size=1024,refcount-cache-size=2048 \
            -c 'write -z -u 0 1k' \
            -c 'map'
        qemu-img check test.qcow2
        qemu-io --image-opts driver=qcow2,file.driver=file,file.filename=test.qcow2,discard=unmap,l2-cache-entry-size=512,l2-cache-size=1024,refcount-cache-size=2048 \
            -c 'read -P 0x00 0 1024' \
            -c 'read -P 0x01 1024 3072'
        qemu-io --image-opts driver=qcow2,file.driver=file,file.filename=test.qcow2,discard=unmap,l2-cache-entry-size=512,l2-cache-size=1024,refcount-cache-size=2048 \
            -c 'read -P 0x00 0 1024' \
            -c 'read -P 0x01 1024 3072' \
            -c 'read -P 0xbf 4096 512' \
            -c 'read -P 0xbb 4608 512' \
            -c 'read -P 0x00 5120 257024'
        qemu-img check test.qcow2
    "#]].assert_eq(&qemu_io_script(&scenario));
    let mut many = Scenario::from_text("blk-scenario 1\nwrite 0 1\n").unwrap();
    many.requests = vec![many.requests[0]; 300];
    let script = qemu_io_script(&many);
    assert!(script.contains("-P 0xff 0 1") && !script.contains("write -P 0x00"), "patterns are 1 to 255");
}

#[test]
fn a_script_makes_the_data_file() {
    for (value, options) in
        [("off", ""), ("plain", ",data_file=test.data"), ("raw", ",data_file=test.data,data_file_raw=on")]
    {
        let text = format!("blk-scenario 1\nconfig size-bytes=64k x-data-file={value}\nwrite 0 512\n");
        let script = qemu_io_script(&Scenario::from_text(&text).unwrap());
        assert!(script.contains(&format!("refcount_bits=16{options} test.qcow2 65536\n")), "{script}");
    }
}
