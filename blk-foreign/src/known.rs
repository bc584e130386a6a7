//! The drivers that come with us.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::description::Description;

macro_rules! known {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../drivers/", $name, ".toml")))),*]
    };
}

/// Names, and TOML files.
const KNOWN: &[(&str, &str)] = known![
    "nbdkit",
    "nbdkit-blocksize",
    "nbdkit-cache",
    "nbdkit-cacheextents",
    "nbdkit-cow",
    "nbdkit-file",
    "nbdkit-memory",
    "qemu-luks",
    "qemu-nbd",
    "qemu-parallels",
    "qemu-qcow2",
    "qemu-qed",
    "qemu-vdi",
    "qemu-vhdx",
    "qemu-vmdk",
    "qemu-vpc",
];

/// The names of the drivers that come with us.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, _)| *name)
}

/// The description of a driver: by its name, or in a TOML file, whose name ends in `.toml`.
///
/// # Errors
/// A name that is not known: all that are known are listed. A file that cannot be read, or is no description.
pub fn description(name: &str) -> Result<Description> {
    described(name, "", &mut Vec::new())
}

/// The same; a file is named from the folder `here`. `asked` are those who ask for its deviations, by way of
/// each other.
pub(crate) fn described(name: &str, here: &str, asked: &mut Vec<String>) -> Result<Description> {
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        let path = Path::new(here).join(name);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read '{name}'"))?;
        let file = std::path::absolute(&path).with_context(|| format!("'{name}'"))?;
        ask(&file.display().to_string(), asked)?;
        let here = file.parent().map_or_else(String::new, |folder| folder.display().to_string());
        return Description::parse_in(&text, &here, asked).with_context(|| format!("'{name}'"));
    }
    let Some((_, text)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = names().collect();
        bail!("no driver '{name}' is known; known are {}, or a file NAME.toml", known.join(", "))
    };
    ask(name, asked)?;
    Description::parse_in(text, "", asked)
}

/// Notes who asks.
fn ask(name: &str, asked: &mut Vec<String>) -> Result<()> {
    if asked.iter().any(|other| other == name) {
        bail!("{} ask for the deviations of each other", asked.join(", "));
    }
    asked.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_harness::scenario::Scenario;
    use blk_harness::{Finding, Signature};

    #[test]
    fn each_driver_has_a_good_description_of_its_name() {
        for name in names() {
            assert_eq!(description(name).unwrap().name, name);
        }
    }

    #[test]
    fn only_how_nbdkit_now_and_then_ends_is_known() {
        let known = description("nbdkit").unwrap().deviations;
        for (end, expected) in [("signal: 11 (SIGSEGV)", true), ("exit status: 1", false)] {
            let what =
                format!("closing the image failed: the process was asked to end, and has ended with {end}: ");
            let finding = Finding::new(Signature::Size, what);
            let is_known = known.iter().any(|known| known.explains(&finding, &Scenario::default(), 512));
            assert_eq!(is_known, expected, "{end}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = description("qemu-qcow3").unwrap_err().to_string();
        assert!(error.contains("qemu-qcow3") && error.contains("qemu-qcow2"), "{error}");
        assert!(description("/no/such.toml").unwrap_err().to_string().contains("/no/such.toml"));
    }
}
