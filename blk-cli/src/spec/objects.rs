//! Objects of a command line (`--object`), which images refer to by their names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blk_core::{Error, Result, Secret};
use blk_nbd::{Certificates, ClientTls, ServerTls};
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::options::NodeOptions;
use super::secret::SecretObject;
use super::text;

/// Kinds that QEMU has: those that nothing here could refer to by mistake are accepted.
const KINDS: [&str; 9] = [
    "authz-list",
    "authz-simple",
    "iothread",
    "main-loop",
    "secret",
    "secret_keyring",
    "throttle-group",
    "tls-creds-psk",
    "tls-creds-x509",
];

/// An object: `KIND,id=NAME,key=value,...`.
#[derive(Debug, Clone)]
pub struct Object {
    id: String,
    kind: Kind,
}

/// What an object is.
#[derive(Debug, Clone)]
enum Kind {
    /// Of no use here.
    Other,
    Tls(TlsObject),
    Secret(SecretObject),
}

/// Certificates for encrypted connections.
#[derive(Debug, Clone)]
struct TlsObject {
    /// The folder that they lie in. They are read when a connection refers to the object.
    folder: PathBuf,
    is_server: bool,
    /// A server wants certificates of its clients, too.
    verifies: bool,
}

impl Object {
    /// Reads an object. Files that it names are not opened yet.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        Self::read(text).map_err(|error| error.to_string())
    }

    fn read(text: &str) -> Result<Self> {
        let mut options = read_options(text)?;
        let kind = options.take_text("qom-type").unwrap_or_default();
        if !KINDS.contains(&kind.as_str()) {
            let is_word =
                kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
            let named = if is_word { format!("the kind '{kind}'") } else { "the kind".to_owned() };
            let reason = format!("{named} is unknown; known are {}", KINDS.join(", "));
            return Err(Error::invalid_option("--object", reason));
        }
        let Some(id) = options.take_text("id") else {
            return Err(Error::invalid_option("--object", format!("'id' of '{kind}' is missing")));
        };
        if kind == "secret" {
            let secret = SecretObject::take(&mut options)?;
            if !options.is_empty() {
                let reason = "an option of 'secret' is unknown; a comma in a value is doubled, and known are data, \
                              file, format, iv, keyid";
                return Err(Error::invalid_option("--object", reason));
            }
            return Ok(Self { id, kind: Kind::Secret(secret) });
        }
        if kind != "tls-creds-x509" {
            return Ok(Self { id, kind: Kind::Other });
        }
        let is_server =
            options.take_choice("endpoint", &[("server", true), ("client", false)])?.unwrap_or(false);
        let verifies = options.take_switch("verify-peer")?.unwrap_or(true);
        // Which ciphers are good is rustls' to know; a key of a file has no password here.
        options.take_text("priority");
        options.take_switch("sanity-check")?;
        let Some(folder) = options.take_text("dir") else {
            return Err(Error::invalid_option("--object", format!("'dir' of '{kind}' is missing")));
        };
        options.finish(&kind)?;
        Ok(Self { id, kind: Kind::Tls(TlsObject { folder: folder.into(), is_server, verifies }) })
    }
}

/// The options of an object. What cannot be read may be part of a passphrase: an error shows nothing of it.
fn read_options(text: &str) -> Result<NodeOptions> {
    let read = match text.strip_prefix('{') {
        Some(_) => text::json("--object", text),
        None => text::key_values(&with_key(text)),
    };
    read.map_err(|error| match error {
        Error::InvalidOption { reason, .. } => Error::invalid_option("--object", reason),
        _ => Error::invalid_option("--object", "it is no JSON object"),
    })
}

/// The first word is the kind, if it has no key.
fn with_key(text: &str) -> String {
    let first = text.split(',').next().unwrap_or_default();
    if first.contains('=') { text.to_owned() } else { format!("qom-type={text}") }
}

/// What lies in a folder, under QEMU's names.
pub(super) fn certificates(folder: &Path, is_server: bool) -> Result<Certificates> {
    /// A file that is longer holds no certificates.
    const BYTES_MAX: u64 = 4 << 20;
    let read = |name: &str| {
        let path = folder.join(name);
        let failed = |reason: String| Error::Unresolved { name: path.display().to_string(), reason };
        match std::fs::metadata(&path) {
            Ok(file) if file.len() > BYTES_MAX || !file.is_file() => {
                Err(failed(format!("it is no file of at most {BYTES_MAX} bytes")))
            }
            _ => std::fs::read(&path).map_err(|error| failed(error.to_string())),
        }
    };
    if folder.join("ca-crl.pem").exists() {
        let reason = "lists of revoked certificates are not supported: whom they name would be let in";
        return Err(Error::Unresolved {
            name: folder.join("ca-crl.pem").display().to_string(),
            reason: reason.to_owned(),
        });
    }
    let side = if is_server { "server" } else { "client" };
    let names = [format!("{side}-cert.pem"), format!("{side}-key.pem")];
    // A client may have none of its own.
    let has_own = is_server || names.iter().any(|name| folder.join(name).exists());
    let own = if has_own { Some((read(&names[0])?, read(&names[1])?)) } else { None };
    Ok(Certificates { authorities: read("ca-cert.pem")?, own })
}

/// Reads an object of a command line. What is wrong with it is all that an error says: clap's own show the
/// value, and with it a passphrase.
#[derive(Debug, Clone)]
pub(crate) struct ObjectParser;

impl TypedValueParser for ObjectParser {
    type Value = Object;

    fn parse_ref(
        &self,
        command: &Command,
        _argument: Option<&Arg>,
        value: &OsStr,
    ) -> std::result::Result<Object, clap::Error> {
        let refused = |kind, reason: String| clap::Error::raw(kind, reason + "\n").with_cmd(command);
        let text = value.to_str().ok_or_else(|| {
            refused(ErrorKind::InvalidUtf8, "invalid option '--object': it is no UTF-8".to_owned())
        })?;
        Object::parse(text).map_err(|reason| refused(ErrorKind::ValueValidation, reason))
    }
}

/// Objects as command lines give them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ObjectArgs {
    /// An object that options refer to, such as tls-creds-x509
    #[arg(long = "object", value_name = "OBJECT", value_parser = ObjectParser)]
    objects: Vec<Object>,
}

impl ObjectArgs {
    /// All of them.
    pub(crate) fn objects(&self) -> Objects {
        self.objects.clone().into()
    }
}

/// The objects of a command line.
#[derive(Debug, Clone, Default)]
pub struct Objects(Arc<[Object]>);

impl From<Vec<Object>> for Objects {
    fn from(objects: Vec<Object>) -> Self {
        Self(objects.into())
    }
}

impl Objects {
    /// The one object of that name; `option` refers to it.
    fn kind_of(&self, option: &'static str, id: &str) -> Result<&Kind> {
        let refused = |reason: String| Error::invalid_option(option, reason);
        let mut named = self.0.iter().filter(|object| object.id == id);
        match (named.next(), named.next()) {
            (Some(object), None) => Ok(&object.kind),
            (None, _) => Err(refused(format!("there is no object '{id}'"))),
            (Some(_), Some(_)) => Err(refused(format!("there are two objects '{id}'"))),
        }
    }

    /// The secret of that name.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where there is no such object, or it cannot be decrypted.
    pub fn secret(&self, id: &str) -> Result<Secret> {
        self.secret_at(id, 0)
    }

    /// As [`Objects::secret`], where `depth` others are encrypted with it.
    pub(super) fn secret_at(&self, id: &str, depth: usize) -> Result<Secret> {
        match self.kind_of("key-secret", id)? {
            Kind::Secret(secret) => secret.reveal(self, depth),
            _ => Err(Error::invalid_option("key-secret", format!("object '{id}' is no 'secret'"))),
        }
    }

    /// The object of that name, for one side.
    fn tls(&self, id: &str, is_server: bool) -> Result<&TlsObject> {
        let refused = |reason: String| Error::invalid_option("tls-creds", reason);
        let Kind::Tls(tls) = self.kind_of("tls-creds", id)? else {
            return Err(refused(format!("object '{id}' is no 'tls-creds-x509'")));
        };
        if tls.is_server != is_server {
            let side = if is_server { "server" } else { "client" };
            return Err(refused(format!("object '{id}' is not for a {side} (endpoint={side})")));
        }
        Ok(tls)
    }

    /// How a client encrypts with the certificates of that name; `host` is whom it takes for the server.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] where there is no such object, or its certificates are none;
    /// [`Error::Unresolved`] names a file of theirs that cannot be read.
    pub fn client_tls(&self, id: &str, host: Option<String>) -> Result<ClientTls> {
        ClientTls::new(&certificates(&self.tls(id, false)?.folder, false)?, host)
    }

    /// How a server encrypts with the certificates of that name.
    ///
    /// # Errors
    /// As [`Objects::client_tls`].
    pub fn server_tls(&self, id: &str) -> Result<ServerTls> {
        let tls = self.tls(id, true)?;
        ServerTls::new(&certificates(&tls.folder, true)?, tls.verifies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Object::parse(text).unwrap_err()
    }

    #[test]
    fn objects_that_are_none_say_why() {
        for (text, said) in [
            ("", "the kind '' is unknown"),
            ("foo,id=a", "the kind 'foo' is unknown"),
            ("qom-type=foo,id=a", "the kind 'foo' is unknown"),
            ("secret,data=x", "'id' of 'secret' is missing"),
            ("tls-creds-x509,id=a", "'dir' of 'tls-creds-x509' is missing"),
            ("tls-creds-x509,id=a,dir=/nowhere,endpoint=both", "'both'"),
            ("tls-creds-x509,id=a,dir=/nowhere,colour=red", "'colour'"),
        ] {
            let reason = refused(text);
            assert!(reason.contains(said), "{text}: {reason}");
        }
        for text in ["secret,id=a,data=x", r#"{"qom-type":"secret","id":"a","data":"x"}"#] {
            assert_eq!(Object::parse(text).unwrap().id, "a");
        }
    }

    #[test]
    fn names_are_looked_up() {
        let objects = |texts: &[&str]| {
            Objects::from(texts.iter().map(|text| Object::parse(text).unwrap()).collect::<Vec<_>>())
        };
        let error = |texts: &[&str]| objects(texts).client_tls("a", None).unwrap_err().to_string();
        assert!(error(&[]).contains("there is no object 'a'"));
        assert!(error(&["secret,id=a,data=x"]).contains("is no 'tls-creds-x509'"));
        assert!(error(&["secret,id=a,data=x", "secret,id=a,data=y"]).contains("two objects"));
        // The files are looked for once a connection needs them.
        let client = "tls-creds-x509,id=a,dir=/nowhere";
        assert!(error(&[client]).contains("/nowhere/ca-cert.pem"));
        let server = objects(&["tls-creds-x509,id=a,dir=/nowhere,endpoint=server"]);
        let error = server.server_tls("a").unwrap_err().to_string();
        assert!(error.contains("/nowhere/server-cert.pem"), "{error}");
    }
}
