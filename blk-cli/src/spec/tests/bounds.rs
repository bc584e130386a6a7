//! Whatever a specification says, reading and opening it ends soon, and what is wrong with it is said in a
//! few words.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::*;

/// A test build is slow, and its machine may be busy.
const TIME_MAX: Duration = Duration::from_secs(5);
const MESSAGE_BYTES_MAX: usize = 1500;

/// Nodes inside one another as JSON: `before` stands before the next one, `after` behind it.
fn nested(count: usize, before: &str, innermost: &str, after: &str) -> String {
    format!("json:{}{innermost}{}", before.repeat(count), after.repeat(count))
}

/// The same as options with dots: `level.level.driver=...`.
fn dotted(count: usize, level: &str, each: &str, innermost: &str) -> String {
    let mut list = String::new();
    // The text grows with the square of the depth.
    for depth in 0..count.min(500) {
        if !each.is_empty() {
            write!(list, "{}{each},", level.repeat(depth)).unwrap();
        }
    }
    list + &level.repeat(count) + innermost
}

/// Specifications of a shape, in which something occurs `count` times.
fn shapes(name: &str, raw: &str, count: usize) -> Vec<Request> {
    let file = format!(r#"{{"driver":"file","filename":"{name}"}}"#);
    let verify = format!(r#"{{"driver":"blkverify","raw":{{"driver":"file","filename":"{raw}"}},"test":"#);
    let mut rules = String::from("driver=qcow2,file.driver=blkdebug");
    for rule in 0..count {
        write!(rules, ",file.inject-error.{rule}.event=l2_load,file.inject-error.{rule}.errno=0").unwrap();
    }
    let keys = |count: usize| {
        (0..count).fold(String::new(), |mut keys, key| {
            write!(keys, "\"k{key}\":1,").unwrap();
            keys
        })
    };
    let json = [
        nested(count, r#"{"file":"#, &file, "}"),
        nested(count, r#"{"driver":"raw","file":"#, &file, "}"),
        nested(count, r#"{"driver":"blkdebug","image":"#, &file, "}"),
        nested(count, &format!(r#"{verify}{{"file":"#), &file, "}}"),
        nested(count, r#"{"driver":"qcow2","backing":"#, &file, "}"),
        nested(count, r#"{"file":["#, &file, "]}"),
        nested(count, "[", "", "]"),
        nested(count, "{\"a\":", "", ""),
        format!("json:{{{}\"driver\":\"raw\",\"file\":{file}}}", keys(count)),
        format!("json:{{\"{}\":{{{}\"x\":1}}}}", "y".repeat(count), keys(count)),
        format!("json:{{\"driver\":\"{}\"}}", "z".repeat(count)),
        format!("json:{{\"{}driver\":\"raw\"}}", "file.".repeat(count)),
        format!("json:{{\"size\":{}}}", "9".repeat(count)),
    ];
    let names = [
        format!("{}{name}", "blkdebug::".repeat(count)),
        format!("{}{name}", format!("blkverify:{raw}:").repeat(count)),
        format!("{}{name}", "file:".repeat(count)),
        format!("{}json:{{{}\"driver\":\"raw\"}}", "blkdebug::".repeat(count.min(64)), keys(count)),
        format!("blkdebug:{}:{name}", "x".repeat(count)),
        "/".repeat(count),
        "n".repeat(count),
    ];
    let lists = [
        dotted(count, "file.", "", &format!("filename={name}")),
        dotted(count, "file.", "driver=raw", &format!("filename={name}")),
        dotted(count, "image.", "driver=blkdebug", &format!("filename={name}")),
        dotted(count, "backing.", &format!("driver=qcow2,file.filename={name}"), "driver=raw"),
        format!("driver=qcow2,file.filename={name},{}", "lazy-refcounts=on,".repeat(count)),
        format!("driver=raw,file.filename={name},{}", ",".repeat(count)),
        format!("{rules},file.image.filename={name}"),
    ];
    json.into_iter().chain(names).map(request).chain(lists.into_iter().map(image_opts)).collect()
}

#[test]
fn every_specification_is_bounded() {
    let folder = Folder::new();
    let (name, raw) = (folder.qcow2("a.qcow2", None), folder.raw("a.raw", 1));
    let mut opened = 0;
    for count in [0, 1, 2, 3, 20, 40, 63, 64, 65, 127, 128, 1000, 5000, 20_000] {
        for (index, request) in shapes(&name, &raw, count).into_iter().enumerate() {
            let request = Request { access: Access::ReadOnly, ..request };
            let started = Instant::now();
            let answer = request.open();
            let (elapsed, shape) = (started.elapsed(), &request.name[..request.name.len().min(80)]);
            assert!(elapsed < TIME_MAX, "shape {index}, {count} times: {elapsed:?}: {shape}");
            match answer {
                Ok(_) => opened += 1,
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.len() < MESSAGE_BYTES_MAX, "shape {index}, {count} times: {text}");
                }
            }
        }
    }
    assert!(opened >= 40, "{opened} specifications were opened");
}

#[test]
fn endless_names_are_refused() {
    for text in ["/", "blkdebug::", "json:", "[", "a=,", "file."] {
        let name = text.repeat(3_000_000 / text.len());
        for request in [request(name.clone()), image_opts(name)] {
            let started = Instant::now();
            assert!(error(&request).len() < MESSAGE_BYTES_MAX);
            assert!(started.elapsed() < TIME_MAX);
        }
    }
}

#[test]
fn images_that_name_two_files_each_do_not_double_at_every_step() {
    let folder = Folder::new();
    let both = |name: &str| {
        let image = format!(r#"{{"driver":"qcow2","file":{{"filename":"{}"}}}}"#, folder.path(name));
        format!(r#"json:{{"driver":"blkverify","raw":{image},"test":{image}}}"#)
    };
    folder.qcow2("40", None);
    for step in 0..40 {
        let next = both(&(step + 1).to_string());
        folder.qcow2(&step.to_string(), Some((&next, "blkverify")));
    }
    assert_eq!(first_byte(&read_only(folder.path("36")).open().unwrap()), 0);
    let started = Instant::now();
    assert!(error(&read_only(folder.path("0"))).contains("at most 1024 files"));
    assert!(started.elapsed() < TIME_MAX);
}

#[test]
fn a_guessed_format_is_locked_as_if_it_had_been_given() {
    let folder = Folder::new();
    let name = folder.qcow2("a", None);
    let writer = request(name.clone()).open().unwrap();
    for other in [request(name.clone()), read_only(name.clone()), request(format!("blkdebug::{name}"))] {
        assert!(error(&other).contains("lock"), "{}", other.name);
    }
    let shared = Request { force_share: true, ..read_only(name.clone()) };
    assert!(shared.open().is_ok());
    drop(writer);
    let reader = read_only(name.clone()).open().unwrap();
    assert!(read_only(name.clone()).open().is_ok());
    assert!(error(&request(name)).contains("lock"));
    drop(reader);
}
