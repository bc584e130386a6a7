//! Every field of a qcow2 header, its legal values, and some that the specification forbids: those are
//! refused by name, never by a panic, whichever way the image is opened.

use std::sync::Arc;

use blk_core::{Access, DenyResolver, ErrorKind, MemoryStorage, Options, Storage};

/// A field, where it lies, its bytes, and values that are to be taken or to be refused in an otherwise right
/// image.
struct Field {
    name: &'static str,
    offset: u64,
    bytes: usize,
    legal: &'static [u64],
    illegal: &'static [u64],
}

const fn field(
    name: &'static str,
    offset: u64,
    bytes: usize,
    legal: &'static [u64],
    illegal: &'static [u64],
) -> Field {
    Field { name, offset, bytes, legal, illegal }
}

/// Clusters of 64 KiB, a disk of 1 MiB: the header, the refcount table, a block and the L1 table are the
/// first four clusters.
const FIELDS: [Field; 19] = [
    field("magic", 0, 4, &[0x5146_49fb], &[0, 0x5146_49fa, 0xfb49_4651]),
    field("version", 4, 4, &[3], &[0, 1, 4, u32::MAX as u64]),
    field("backing_file_offset", 8, 8, &[0], &[(64 << 10) + 8, 1 << 40, u64::MAX]),
    field("backing_file_size", 16, 4, &[0], &[]),
    field("cluster_bits", 20, 4, &[16], &[0, 8, 22, 63, 64, u32::MAX as u64]),
    field("size", 24, 8, &[0, 512, 1 << 20, 512 << 20], &[(512 << 20) + 512, 1 << 62, u64::MAX]),
    field("crypt_method", 32, 4, &[0], &[1, 2, 3, u32::MAX as u64]),
    field("l1_size", 36, 4, &[1, 2, 8192], &[0, (1 << 22) + 1, u32::MAX as u64]),
    field("l1_table_offset", 40, 8, &[3 << 16], &[(3 << 16) + 1, (3 << 16) + 512, 1 << 63, u64::MAX]),
    field("refcount_table_offset", 48, 8, &[1 << 16], &[1, (1 << 16) + 512, 1 << 63, u64::MAX]),
    field("refcount_table_clusters", 56, 4, &[1], &[129, 1 << 20, u32::MAX as u64]),
    field("nb_snapshots", 60, 4, &[0], &[65_537, u32::MAX as u64]),
    field("snapshots_offset", 64, 8, &[0], &[]),
    field("incompatible_features", 72, 8, &[0, 1 << 4], &[1 << 2, 1 << 5, 1 << 31, 1 << 63, u64::MAX]),
    field("compatible_features", 80, 8, &[0, 1, 2, 1 << 63, u64::MAX], &[]),
    field("autoclear_features", 88, 8, &[0, 1 << 2, 1 << 63], &[]),
    field("refcount_order", 96, 4, &[4], &[7, 64, u32::MAX as u64]),
    field("header_length", 100, 4, &[104, 112], &[0, 72, 103, (64 << 10) + 8, u32::MAX as u64]),
    field("compression_type", 104, 1, &[0], &[1, 2, 255]),
];

fn image() -> MemoryStorage {
    let memory = Arc::new(MemoryStorage::new());
    let storage: Arc<dyn Storage> = memory.clone();
    blk_qcow2::FORMAT.create(&storage, 1 << 20, Options::new()).unwrap();
    memory.duplicate()
}

fn opened(storage: MemoryStorage, access: Access) -> Result<(), blk_core::Error> {
    let opened = blk_qcow2::FORMAT.open(Arc::new(storage), access, Options::new(), &DenyResolver)?;
    let mut buf = vec![0; opened.size().min(4096) as usize];
    opened.read(0, &mut buf)
}

fn with(field: &Field, value: u64) -> MemoryStorage {
    let image = image();
    image.write_at(field.offset, &value.to_be_bytes()[8 - field.bytes..]).unwrap();
    image
}

#[test]
fn what_the_specification_forbids_is_refused_and_all_else_is_taken() {
    let (mut cells, mut wrong) = (0, Vec::new());
    for field in &FIELDS {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            for value in field.legal {
                cells += 1;
                if let Err(error) = opened(with(field, *value), access) {
                    wrong.push(format!("{} = {value:#x} is legal ({access:?}): {error}", field.name));
                }
            }
            for value in field.illegal {
                cells += 1;
                match opened(with(field, *value), access) {
                    Ok(()) => wrong.push(format!("{} = {value:#x} is taken ({access:?})", field.name)),
                    Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned) => {
                        wrong.push(format!("{} = {value:#x} ({access:?}): {error}", field.name));
                    }
                    Err(_) => {}
                }
            }
        }
    }
    println!("{cells} cells");
    assert!(cells >= 150, "{cells}");
    assert!(wrong.is_empty(), "{} of {cells}:\n{}", wrong.len(), wrong.join("\n"));
}
