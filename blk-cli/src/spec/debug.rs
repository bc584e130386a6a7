//! `blkdebug`: operations fail as [`Rules`] say, and requests stop at break points.
//!
//! Over bytes, such as a file, the node is a storage; over an image it is a filter, through which what the
//! image knows of itself can be seen. Both share an [`Engine`], and [`super::limits`] lie before both.

mod disk;
mod engine;
mod storage;

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use blk_core::{Access, Error, Result, Storage, name};

use super::breakpoints::Breakpoints;
use super::file::plain;
use super::limits::Limits;
use super::node::{Kind, Node};
use super::open::{Inherited, OpenedDisk, Opener, in_memory};
use super::rules::Rules;
use storage::DebugStorage;

pub(crate) use disk::DebugNode;
pub(crate) use engine::Engine;

/// Largest file of rules, in bytes.
const RULES_BYTES_MAX: u64 = 1 << 20;

/// What a node says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct DebugOptions<'a> {
    pub(super) config: Option<&'a str>,
    pub(super) rules: &'a Rules,
    pub(super) limits: Limits,
}

impl Opener {
    /// Opens an image with a node over it.
    pub(super) fn debugged(
        &self,
        image: &Node,
        options: DebugOptions<'_>,
        access: Access,
        inherited: Inherited,
    ) -> Result<OpenedDisk> {
        let engine = self.engine(options, inherited)?;
        let mut opened = self.disk(image, access, inherited)?;
        let node = DebugNode::over(opened.disk, Arc::clone(&engine), options.limits);
        opened.disk = node.front(options.limits);
        opened.format = "blkdebug";
        opened.breakpoints = Some(engine);
        opened.debug = Some(node);
        Ok(opened)
    }

    /// Puts a node over a storage.
    pub(super) fn debug_storage(
        &self,
        inner: Arc<dyn Storage>,
        options: DebugOptions<'_>,
        inherited: Inherited,
    ) -> Result<(Arc<dyn Storage>, Arc<dyn Breakpoints>)> {
        let engine = self.engine(options, inherited)?;
        let debug = DebugStorage::new(inner, Arc::clone(&engine));
        Ok((options.limits.over(Arc::new(debug)), engine))
    }

    fn engine(&self, options: DebugOptions<'_>, inherited: Inherited) -> Result<Arc<Engine>> {
        let mut rules = options.config.map_or_else(|| Ok(Rules::default()), |name| self.rules(name))?;
        rules.extend(options.rules.clone());
        Ok(Arc::new(Engine::new(rules, inherited.no_flush, say)))
    }

    fn rules(&self, name: &str) -> Result<Rules> {
        match &self.memory {
            Some(files) => Rules::parse(name, &String::from_utf8_lossy(in_memory(files, name)?)),
            None => read_rules(name),
        }
    }
}

/// Whether a node lies over an image rather than over bytes.
pub(super) fn is_over_image(node: &Node) -> bool {
    match &node.kind {
        Kind::Debug { image, .. } => match image.kind {
            Kind::File { .. } | Kind::Null { .. } | Kind::Nbd(_) => false,
            Kind::Debug { .. } => is_over_image(image),
            Kind::Format(_) | Kind::Probe { .. } | Kind::Filter { .. } | Kind::Verify { .. } => true,
        },
        _ => false,
    }
}

fn read_rules(name: &str) -> Result<Rules> {
    let failed = |reason: String| Error::Unresolved { name: name.to_owned(), reason };
    // A name inside an image may mean a pipe on which nobody writes.
    let nonblocking = nix::libc::O_NONBLOCK;
    let file = std::fs::File::options().read(true).custom_flags(nonblocking).open(name::to_path(name));
    let file = file.map_err(|error| failed(plain(&error)))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(failed("rules are read from a regular file only".to_owned()));
    }
    let mut text = String::new();
    let read = file.take(RULES_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| failed(plain(&error)))?;
    if text.len() as u64 > RULES_BYTES_MAX {
        return Err(failed(format!("the rules are longer than {RULES_BYTES_MAX} bytes")));
    }
    Rules::parse(name, &text)
}

/// Writes a line to standard output at once; nobody may be there to read it.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
