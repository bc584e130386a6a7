//! Debian packages, fetched and unpacked in a folder: nothing is installed on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xshell::{Shell, cmd};

/// Where packages are kept.
pub(super) struct Packages<'a> {
    shell: &'a Shell,
    folder: PathBuf,
}

impl<'a> Packages<'a> {
    pub(super) fn new(shell: &'a Shell, folder: &Path) -> Result<Self> {
        let folder = folder.join("packages");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        // What apt takes for the list of installed packages: none is, so it names all that are needed.
        fs::write(folder.join("installed"), "")?;
        Ok(Self { shell, folder })
    }

    fn as_if_empty(&self) -> String {
        format!("Dir::State::status={}", self.folder.join("installed").display())
    }

    /// The packages that these need, themselves among them, in an order in which they can be installed.
    fn needed_by(&self, wanted: &[&str]) -> Result<Vec<String>> {
        // Asking apt takes seconds.
        let kept = self.folder.join(format!("{}.list", wanted.join("+")));
        if let Ok(names) = fs::read_to_string(&kept) {
            return Ok(names.lines().map(str::to_owned).collect());
        }
        let (shell, status) = (self.shell, self.as_if_empty());
        let simulated = || {
            let apt =
                cmd!(shell, "apt-get --simulate --no-install-recommends -o {status} install {wanted...}");
            apt.quiet().ignore_stderr().read()
        };
        let planned = simulated().or_else(|_| {
            println!("apt knows no such packages yet: asking for its lists");
            super::super::tools::update_packages(shell)?;
            simulated().with_context(|| format!("apt cannot install {}", wanted.join(", ")))
        })?;
        let planned = planned.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next());
        let names: Vec<String> = planned.map(str::to_owned).collect();
        fs::write(kept, names.join("\n"))?;
        Ok(names)
    }

    /// The file of a package, if it is there.
    fn file(&self, name: &str) -> Option<PathBuf> {
        let start = format!("{name}_");
        let files = fs::read_dir(&self.folder).ok()?.flatten();
        files.map(|entry| entry.path()).find(|path| {
            path.extension().is_some_and(|extension| extension == "deb")
                && path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&start))
        })
    }

    /// Fetches what these packages need, unless it is there. Returns names and files.
    pub(super) fn fetch(&self, wanted: &[&str]) -> Result<Vec<(String, PathBuf)>> {
        let names = self.needed_by(wanted)?;
        let missing: Vec<&String> = names.iter().filter(|name| self.file(name).is_none()).collect();
        if !missing.is_empty() {
            let (shell, status) = (self.shell, self.as_if_empty());
            let _here = shell.push_dir(&self.folder);
            let count = missing.len();
            println!("fetching {count} packages for {}", wanted.join(" "));
            cmd!(shell, "apt-get -qq -o {status} -o APT::Sandbox::User=root download {missing...}")
                .quiet()
                .run()?;
        }
        let found = names.into_iter().map(|name| {
            let file = self.file(&name).with_context(|| format!("apt has not fetched {name}"))?;
            Ok((name, file))
        });
        found.collect()
    }

    /// Unpacks what these packages need into a folder, unless that was done. Returns names and files.
    pub(super) fn unpack(&self, wanted: &[&str], to: &Path) -> Result<Vec<(String, PathBuf)>> {
        let packages = self.fetch(wanted)?;
        let files: Vec<String> = packages.iter().map(|(_, file)| file.display().to_string()).collect();
        let (list, stamp) = (files.join("\n"), to.join(".unpacked"));
        if fs::read_to_string(&stamp).is_ok_and(|there| there == list) {
            return Ok(packages);
        }
        let _ = fs::remove_dir_all(to);
        fs::create_dir_all(to)?;
        let shell = self.shell;
        for (name, file) in &packages {
            cmd!(shell, "dpkg-deb --extract {file} {to}")
                .quiet()
                .run()
                .with_context(|| format!("cannot unpack {name}"))?;
        }
        fs::write(stamp, list)?;
        Ok(packages)
    }
}

/// The only file in `folder` whose name begins so.
pub(super) fn only(folder: &Path, start: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut found = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)));
    match (found.next(), found.next()) {
        (Some(path), None) => Ok(path),
        _ => bail!("there is no single '{start}...' in {}", folder.display()),
    }
}
