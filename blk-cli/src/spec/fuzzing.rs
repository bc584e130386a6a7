//! Image specifications out of random bytes, opened where there is nothing but a few files in memory.

mod generate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blk_core::{Access, MemoryStorage, Options, Result, Storage};

use super::node::Node;
use super::open::{CHAIN_MAX, Inherited, Opener};
use super::{OnMismatch, Request, text};

pub use generate::{generate, mutate};

/// More than a message may have: names and reasons are cut.
const MESSAGE_BYTES_MAX: usize = 4096;
const RAW_BYTES: usize = 64 << 10;

/// How far a specification got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// It makes no sense.
    Refused,
    /// It makes sense, and could not be opened.
    Parsed,
    /// Its image was opened and read.
    Opened,
}

/// Takes bytes for a specification and opens it. Nothing of the host is opened.
///
/// Parts are separated by zero bytes: a name, or `opts:` and a list of options; options beside the name; the
/// content of the file `rules`; the backing name in the image `overlay`. The files `raw`, `qcow2`, `overlay`
/// and `rules` exist.
///
/// # Panics
/// If a message is too long, or more files are opened than an image may have.
pub fn specification(data: &[u8]) -> Reached {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.split('\0');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (name, options, rules, backing) = (next(), next(), next(), next());
    let list = name.strip_prefix("opts:").map(str::to_owned);
    let mut request =
        Request { image_opts: list.is_some(), name: list.unwrap_or(name), ..Request::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, "on"));
        request.options.set(key, value);
    }
    let answer = request.node_options().and_then(Node::parse).map_err(text::shortened);
    let node = match answer {
        Ok(node) => node,
        Err(error) => {
            check(&error);
            return Reached::Refused;
        }
    };
    let opened = Arc::new(AtomicUsize::new(0));
    let files = files(&rules, &backing);
    let top = Opener {
        memory: Some(Arc::new(files)),
        files_opened: Arc::clone(&opened),
        // A chain that comes back to itself ends soon.
        depth: CHAIN_MAX - 20,
        ..Opener::default()
    };
    let inherited = Inherited { on_mismatch: OnMismatch::Fail, ..Inherited::default() };
    let read = top.disk(&node, Access::ReadOnly, inherited).and_then(|image| {
        let mut start = vec![0; image.disk.size().min(512) as usize];
        image.disk.read(0, &mut start)
    });
    let count = opened.load(Ordering::Relaxed);
    assert!(count <= 2048, "{count} files were opened");
    match read.map_err(text::shortened) {
        Ok(()) => Reached::Opened,
        Err(error) => {
            check(&error);
            Reached::Parsed
        }
    }
}

fn check(error: &blk_core::Error) {
    let message = error.to_string();
    assert!(message.len() <= MESSAGE_BYTES_MAX, "a message of {} bytes: {message}", message.len());
}

fn files(rules: &str, backing: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([
        ("raw".to_owned(), vec![1; RAW_BYTES]),
        ("rules".to_owned(), rules.as_bytes().to_vec()),
    ]);
    let options = [("qcow2", Options::new()), ("overlay", Options::new().with("backing_file", backing))];
    for (name, options) in options {
        // A name that no image can hold leaves the file away.
        if let Ok(image) = image(options) {
            files.insert(name.to_owned(), image);
        }
    }
    files
}

fn image(options: Options) -> Result<Vec<u8>> {
    let memory = Arc::new(MemoryStorage::new());
    let storage: Arc<dyn Storage> = Arc::clone(&memory) as Arc<dyn Storage>;
    blk_qcow2::FORMAT.create(&storage, RAW_BYTES as u64, options.with("cluster_size", "512"))?;
    let mut bytes = vec![0; usize::try_from(memory.len()?).unwrap_or(0)];
    memory.read_at(0, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_reach_what_they_name_and_nothing_else() {
        let reached = |text: &str| specification(text.as_bytes());
        assert_eq!(reached("qcow2"), Reached::Opened);
        assert_eq!(reached("opts:driver=raw,file.filename=raw"), Reached::Opened);
        assert_eq!(reached("blkdebug:rules:qcow2\0\0[set-state]\nevent = \"none\"\n"), Reached::Opened);
        assert_eq!(reached("blkverify:raw:raw\0"), Reached::Opened);
        assert_eq!(reached("overlay\0\0\0json:{'driver':'raw','file.filename':'raw'}"), Reached::Opened);
        assert_eq!(reached("json:{'driver':'qcow2','file.filename':'qcow2'}"), Reached::Opened);
        assert_eq!(reached("/etc/passwd"), Reached::Parsed);
        assert_eq!(reached("blkdebug:/etc/passwd:raw"), Reached::Parsed);
        assert_eq!(reached("json:{"), Reached::Refused);
    }

    #[test]
    fn an_image_over_itself_is_refused_in_the_end() {
        // Each image of a chain takes stack; a test's thread has a quarter of what a program has.
        let thread = std::thread::Builder::new().stack_size(8 << 20);
        let reached = thread.spawn(|| specification(b"overlay\0\0\0overlay")).unwrap().join().unwrap();
        assert_eq!(reached, Reached::Parsed);
    }
}
