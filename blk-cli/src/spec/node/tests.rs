use super::*;
use crate::spec::text;

fn parse(list: &str) -> Result<Node> {
    Node::parse(text::key_values(list).unwrap())
}

fn error(list: &str) -> String {
    parse(list).unwrap_err().to_string()
}

fn format_of(list: &str) -> Format {
    match parse(list).unwrap().kind {
        Kind::Format(format) => format,
        other => panic!("no format: {other:?}"),
    }
}

#[test]
fn a_tree_of_nodes() {
    let node = parse(
        "driver=blkverify,raw.driver=file,raw.filename=a,test.driver=blkverify,test.raw.filename=b,\
         test.test.driver=qcow2,test.test.file.driver=blkdebug,test.test.file.image.filename=c",
    )
    .unwrap();
    let Kind::Verify { raw, test } = node.kind else { panic!() };
    assert_eq!(raw.kind, Kind::File { name: "a".to_owned(), locking: Locking::Auto, is_device: false });
    let Kind::Verify { raw, test } = test.kind else { panic!() };
    assert_eq!(raw.kind, Kind::File { name: "b".to_owned(), locking: Locking::Auto, is_device: false });
    let Kind::Format(format) = test.kind else { panic!() };
    assert_eq!(format.driver, "qcow2");
    let Kind::Debug { image, config, rules, .. } = format.file.kind else { panic!() };
    assert_eq!(image.kind, Kind::File { name: "c".to_owned(), locking: Locking::Auto, is_device: false });
    assert_eq!((config, rules), (None, Rules::default()));
}

#[test]
fn without_a_driver_the_format_is_found_out_and_options_wait() {
    let node = parse("file.filename=a,lazy-refcounts=on").unwrap();
    let Kind::Probe { options, file } = node.kind else { panic!() };
    assert!(
        Format::over("raw", options.clone(), file.clone())
            .unwrap_err()
            .to_string()
            .contains("lazy-refcounts")
    );
    assert!(Format::over("qcow2", options, file).is_ok());
    assert!(error("filename=a").contains("neither a driver nor a file"));
}

#[test]
fn keys_that_are_wrong_are_named() {
    for (list, key) in [
        ("driver=raw,file.filename=a,foo=1", "'foo'"),
        ("driver=raw,file.filename=a,file.foo=1", "'file.foo'"),
        ("driver=raw,file.filename=a,lazy-refcounts=on", "'lazy-refcounts'"),
        ("driver=raw,filename=a", "'file'"),
        ("driver=raw,file=a", "'file'"),
        ("driver=file", "'filename'"),
        ("driver=vmdk,file.filename=a", "'driver'"),
        ("driver=qcow2,file.filename=a,lazy-refcounts=maybe", "'lazy-refcounts'"),
        ("driver=qcow2,file.filename=a,l2-cache-entry-size=100", "'l2-cache-entry-size'"),
        ("driver=qcow2,file.filename=a,l2-cache-size=1M,cache-size=1k", "'l2-cache-size'"),
        ("driver=qcow2,file.filename=a,l2-cache-size=1,refcount-cache-size=1,cache-size=2", "'cache-size'"),
        ("driver=qcow2,file.filename=a,overlap-check=foo", "'overlap-check'"),
        ("driver=qcow2,file.filename=a,overlap-check=all,overlap-check.template=none", "'overlap-check'"),
        ("driver=qcow2,file.filename=a,data-file=b", "'data-file'"),
        ("driver=qcow2,file.filename=a,backing=,backing.driver=raw", "'backing'"),
        ("driver=qcow2,file.filename=a,discard=maybe", "'discard'"),
        ("driver=qcow2,file.filename=a,detect-zeroes=unmap,discard=ignore", "'detect-zeroes'"),
        ("driver=raw,file.filename=a,file.aio=fast", "'file.aio'"),
        ("driver=raw,file.filename=a,file.locking=perhaps", "'file.locking'"),
        ("driver=null-co,size=-1", "'size'"),
        ("driver=null-co,size=16E", "'size'"),
        ("driver=blkverify,raw.filename=a", "'test'"),
        ("driver=blkdebug,image.filename=a,inject-error.0.event=foo", "'inject-error.0.event'"),
    ] {
        let error = error(list);
        assert!(error.contains(key), "{list}: {error}");
    }
    let other = "option 'server.host': unknown to the driver 'nbd'";
    assert_eq!(error("driver=nbd,host=x,path=y"), other);
    assert!(error("driver=nbd,export=x").contains("'server.type': it is missing"));
    let deep = format!("driver=blkdebug,{}driver=file", "image.".repeat(5000));
    assert!(text::key_values(&deep).is_err(), "no overflow of the stack");
}

#[test]
fn nodes_that_nest_too_deep_are_refused() {
    let nodes: Vec<String> =
        (0..100).map(|depth| format!("{}driver=blkdebug", "image.".repeat(depth))).collect();
    let list = format!("{},{}filename=x", nodes.join(","), "image.".repeat(100));
    assert!(error(&list).contains("deeper than 64"));
}

#[test]
fn caches_in_bytes_become_slices() {
    let caches = |list: &str| {
        let mut options = format_of(&format!("driver=qcow2,file.filename=a,{list}")).options;
        (options.take("l2-cache-slices"), options.take("refcount-cache-slices"))
    };
    let text = |number: u64| Some(number.to_string());
    assert_eq!(caches("l2-cache-size=1M"), (text(256), None));
    assert_eq!(caches("l2-cache-size=1M,l2-cache-entry-size=512"), (text(2048), None));
    assert_eq!(caches("cache-size=1M,refcount-cache-size=256k"), (text(192), text(64)));
    assert_eq!(caches("cache-size=1M"), (text(252), text(4)));
    assert_eq!(caches("l2-cache-size=0"), (text(2), None));
}

#[test]
fn what_lies_below_can_be_said() {
    let backing = |list: &str| format_of(&format!("driver=qcow2,file.filename=a,{list}")).backing;
    assert_eq!(backing("backing="), Backing::None);
    assert!(error("driver=qcow2,file.filename=a,backing=off").contains("no other nodes"));
    assert!(matches!(backing("discard=unmap"), Backing::FromImage(options) if options.is_empty()));
    let Backing::FromImage(options) = backing("backing.driver=raw,backing.file.filename=b") else { panic!() };
    assert_eq!(options.peek("driver"), Some("raw"));
    let null = text::json("", r#"{"driver":"qcow2","file.filename":"a","backing":null}"#).unwrap();
    let Kind::Format(format) = Node::parse(null).unwrap().kind else { panic!() };
    assert_eq!(format.backing, Backing::None);
}

#[test]
fn every_key_of_the_documentation_is_read() {
    let node = parse(
        "driver=qcow2,file.driver=file,file.filename=a,file.locking=off,file.aio=native,\
         file.cache.direct=on,lazy-refcounts=on,l2-cache-size=1M,refcount-cache-size=64k,l2-cache-entry-size=4k,\
         cache-clean-interval=30,discard=unmap,detect-zeroes=unmap,pass-discard-request=off,\
         pass-discard-snapshot=on,pass-discard-other=off,discard-no-unref=on,overlap-check.template=cached,\
         overlap-check.main-header=off,overlap-check.bitmap-directory=on,read-only=on,cache.no-flush=on,\
         cache.direct=off,force-share=on,auto-read-only=on,node-name=top",
    )
    .unwrap();
    let expected = Common {
        read_only: Some(true),
        auto_read_only: true,
        force_share: true,
        detect_zeroes: DetectZeroes::Unmap,
        discard: Some(true),
        no_flush: Some(true),
    };
    assert_eq!(node.common, expected);
    let Kind::Format(format) = node.kind else { panic!() };
    let passed = |name| format.options.clone().take(name);
    assert_eq!(passed("pass-discard-request").as_deref(), Some("off"));
    assert_eq!(passed("lazy-refcounts").as_deref(), Some("on"));
    assert_eq!(passed("overlap-check").as_deref(), Some("cached"));
    assert_eq!(passed("overlap-check.main-header").as_deref(), Some("off"));
    assert_eq!(
        format.file.kind,
        Kind::File { name: "a".to_owned(), locking: Locking::Off, is_device: false }
    );
}
