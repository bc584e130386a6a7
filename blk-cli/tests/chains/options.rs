//! How images are made.

use blk_harness::random::Random;
use serde_json::json;

use crate::command::Failure;

/// Where keys come from: what `encrypt.key-secret` and `key-secret` name, for every command.
pub(crate) const SECRET: &str = "secret,id=s,data=abc";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Raw,
    Luks,
    Qcow2,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Luks => "luks",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// How an image is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) kind: Kind,
    pub(crate) version: u32,
    /// Bytes.
    pub(crate) cluster: u64,
    pub(crate) refcount_bits: u32,
    pub(crate) data_file: bool,
    /// What `encrypt.format` is.
    pub(crate) cipher: Option<&'static str>,
    /// Those that no command depends on, `name=value`.
    pub(crate) others: Vec<&'static str>,
}

impl Options {
    pub(crate) const RAW: Self = Self {
        kind: Kind::Raw,
        version: 0,
        cluster: 512,
        refcount_bits: 16,
        data_file: false,
        cipher: None,
        others: Vec::new(),
    };

    /// Of a qcow2 image, where none is named.
    pub(crate) fn plain() -> Self {
        Self { kind: Kind::Qcow2, version: 3, cluster: 65536, ..Self::RAW }
    }

    pub(crate) fn draw(rng: &mut Random) -> Self {
        match rng.below(20) {
            0..4 => return Self::RAW,
            4 => return Self { kind: Kind::Luks, ..Self::RAW },
            _ => {}
        }
        let version = if rng.chance(1, 4) { 2 } else { 3 };
        let cluster = rng.one_of(&[512, 4096, 16384, 65536, 65536, 262_144]);
        let mut options = Self { version, cluster, ..Self::plain() };
        if version == 3 {
            options.refcount_bits = rng.one_of(&[16, 16, 16, 1, 8, 64]);
            options.data_file = rng.chance(1, 8);
            let all = ["extended_l2=on", "compression_type=zstd", "lazy_refcounts=on", "data_file_raw=on"];
            options.others.extend(all.into_iter().filter(|_| rng.chance(1, 5)));
        }
        if rng.chance(1, 6) {
            options.others.push(rng.one_of(&["preallocation=metadata", "preallocation=falloc"]));
        }
        options.cipher = Some(rng.one_of(&["luks", "luks", "aes"])).filter(|_| rng.chance(1, 6));
        options
    }

    /// What is preallocated of an encrypted disk shows noise.
    pub(crate) fn are_legal(&self, has_backing: bool) -> bool {
        let has = |option: &str| self.others.contains(&option);
        match self.kind {
            Kind::Raw | Kind::Luks => !has_backing,
            Kind::Qcow2 => {
                (!has("extended_l2=on") || self.cluster >= 16384)
                    && (!has("data_file_raw=on") || (self.data_file && !has_backing && self.cipher.is_none()))
                    && (!has("compression_type=zstd") || !self.data_file)
                    && (!self.is_preallocated() || !(has_backing || self.is_encrypted()))
            }
        }
    }

    pub(crate) fn is_raw_data_file(&self) -> bool {
        self.others.contains(&"data_file_raw=on")
    }

    pub(crate) fn is_preallocated(&self) -> bool {
        self.others.iter().any(|option| option.starts_with("preallocation"))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.kind == Kind::Luks || self.cipher.is_some()
    }

    pub(crate) fn can_compress(&self) -> bool {
        self.kind == Kind::Qcow2 && !self.data_file && self.cipher.is_none()
    }

    /// The name that opens an image: with where its key comes from, if it is encrypted, and with what fails.
    pub(crate) fn address(&self, name: &str, failure: Option<Failure>) -> String {
        let key = match (self.kind, self.cipher) {
            (Kind::Luks, _) => Some("key-secret"),
            (Kind::Qcow2, Some(_)) => Some("encrypt.key-secret"),
            _ => None,
        };
        if key.is_none() && failure.is_none() {
            return name.to_owned();
        }
        let file = json!({"driver": "file", "filename": name});
        let mut node = json!({"driver": self.kind.name(), "file": failure.map_or(file.clone(), |failure| failure.over(&file))});
        if let Some(key) = key {
            node[key] = "s".into();
        }
        format!("json:{node}")
    }

    /// The words that make it, for the file `name`.
    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        let mut all: Vec<String> = match (self.kind, self.version) {
            (Kind::Raw, _) => return Vec::new(),
            (Kind::Luks, _) => vec!["key-secret=s".into(), "iter-time=10".into()],
            (Kind::Qcow2, 2) => vec!["compat=0.10".into()],
            (Kind::Qcow2, _) => vec!["compat=1.1".into(), format!("refcount_bits={}", self.refcount_bits)],
        };
        if self.kind == Kind::Qcow2 {
            all.push(format!("cluster_size={}", self.cluster));
        }
        if self.data_file {
            all.push(format!("data_file={name}.data"));
        }
        if let Some(cipher) = self.cipher {
            all.extend([format!("encrypt.format={cipher}"), "encrypt.key-secret=s".into()]);
            all.extend((cipher == "luks").then(|| "encrypt.iter-time=10".to_owned()));
        }
        all.extend(self.others.iter().map(|option| (*option).to_owned()));
        vec!["-o".to_owned(), all.join(",")]
    }
}
