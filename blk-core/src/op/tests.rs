use super::*;
use crate::testing::flat;
use crate::{ErrorKind, Limits};

const EXTENT: Extent = Extent::new(512, 1024);

fn all() -> Vec<Op> {
    let (fua, repair) = (true, RepairMode::Leaks);
    vec![
        Op::Read { extent: EXTENT },
        Op::write(EXTENT),
        Op::Write { extent: EXTENT, flags: WriteFlags { fua, compressed: true } },
        Op::WriteZeroes {
            extent: EXTENT,
            flags: ZeroFlags { fua, may_unmap: true, no_fallback: true, fast_only: true },
        },
        Op::Discard { extent: EXTENT, flags: DiscardFlags { fua } },
        Op::Flush,
        Op::BlockStatus { extent: EXTENT },
        Op::Prefetch { extent: EXTENT },
        Op::Resize { size: 4096, preallocation: Preallocation::Falloc },
        Op::Check { repair },
    ]
}

#[test]
fn requests_read_as_commands() {
    let texts: Vec<String> = all().iter().map(Op::to_string).collect();
    assert_eq!(
        texts,
        [
            "read 512 1k",
            "write 512 1k",
            "write -c -f 512 1k",
            "write -z -u -n --fast -f 512 1k",
            "discard -f 512 1k",
            "flush",
            "map 512 1k",
            "prefetch 512 1k",
            "truncate -m falloc 4k",
            "check -r leaks",
        ]
    );
    assert_eq!(Op::resize(9).to_string(), "truncate 9");
    let amend = Op::Amend { option: ShortText::new("compat=0.10").unwrap() };
    assert_eq!((amend.to_string(), amend.kind()), ("amend -o compat=0.10".to_owned(), OpKind::Amend));
    assert!(amend.needs_write_access() && !amend.changes_content() && !amend.is_durable());
}

#[test]
fn kinds_extents_and_costs() {
    for (op, kind) in all().into_iter().zip(OpKind::ALL) {
        assert_eq!(op.kind(), kind);
        assert_eq!(OpKind::ALL[kind.index()], kind);
        assert!(op.to_string().starts_with(kind.name()));
        assert_eq!(op.extent().is_some(), op.with_extent(Extent::new(0, 1)) != op, "{op}");
        assert_eq!(op.data_bytes() > 0, matches!(op, Op::Read { .. } | Op::Write { .. }), "{op}");
        assert!(!op.changes_content() || op.needs_write_access(), "{op}");
    }
    let durable = all().into_iter().filter(Op::is_durable).map(|op| op.kind());
    let expected = [OpKind::WriteCompressed, OpKind::WriteZeroes, OpKind::Discard, OpKind::Flush];
    assert_eq!(durable.collect::<Vec<_>>(), expected);
}

#[test]
fn an_op_does_what_its_method_does() {
    let disk = flat(vec![1; 4096], Limits::default());
    disk.perform(Op::write(EXTENT), Data::Write(&[2; 1024])).unwrap();
    let zero = Op::WriteZeroes { extent: Extent::new(0, 100), flags: ZeroFlags::default() };
    assert_eq!(disk.perform(zero, Data::None).unwrap(), Reply::Done);
    let mut read = [9; 1024];
    disk.perform(Op::Read { extent: EXTENT }, Data::Read(&mut read)).unwrap();
    assert_eq!(read, [2; 1024]);
    disk.perform(Op::Read { extent: Extent::new(0, 1024) }, Data::Read(&mut read)).unwrap();
    assert!(read[..100] == [0; 100] && read[100..512] == [1; 412]);
    let status = disk.perform(Op::BlockStatus { extent: EXTENT }, Data::None).unwrap();
    assert!(matches!(status, Reply::Status(BlockStatus { allocated: true, .. })), "{status:?}");
    for op in [Op::Flush, Op::Prefetch { extent: EXTENT }] {
        assert_eq!(disk.perform(op, Data::None).unwrap(), Reply::Done, "{op}");
    }
    for op in [Op::resize(9), Op::Check { repair: RepairMode::None }] {
        assert_eq!(disk.perform(op, Data::None).unwrap_err().kind(), ErrorKind::Unsupported, "{op}");
    }
}

#[test]
fn a_buffer_that_does_not_fit_is_refused_and_nothing_changes() {
    let disk = flat(vec![1; 4096], Limits::default());
    let mut buf = [7; 100];
    for op in all().into_iter().filter(|op| op.data_bytes() > 0) {
        for error in [
            disk.perform(op, Data::None).unwrap_err(),
            disk.perform(op, Data::Write(&[2; 1023])).unwrap_err(),
            disk.perform(op, Data::Read(&mut buf)).unwrap_err(),
        ] {
            assert!(error.to_string().contains(&format!("'{op}' was given ")), "{error}");
        }
    }
    assert!(disk.perform(Op::Flush, Data::Write(&[1])).is_err());
    let mut read = [0; 4096];
    disk.read(0, &mut read).unwrap();
    assert!(read == [1; 4096] && buf == [7; 100]);
}
