//! Against which structures writes are checked, so that a wrong table entry does not destroy them: the option
//! `overlap-check`.

use blk_core::TypedOptions;

use crate::roles::Role;

/// The structures by their names in options, and from which general level on they are checked.
const PARTS: [(&str, Role, Level); 9] = [
    ("overlap-check.main-header", Role::Header, Level::Constant),
    ("overlap-check.active-l1", Role::L1Table, Level::Constant),
    ("overlap-check.refcount-table", Role::RefcountTable, Level::Constant),
    ("overlap-check.snapshot-table", Role::SnapshotTable, Level::Constant),
    ("overlap-check.bitmap-directory", Role::BitmapDirectory, Level::Constant),
    ("overlap-check.active-l2", Role::L2Table, Level::Cached),
    ("overlap-check.refcount-block", Role::RefcountBlock, Level::Cached),
    ("overlap-check.inactive-l1", Role::InactiveL1Table, Level::Cached),
    ("overlap-check.inactive-l2", Role::InactiveL2Table, Level::All),
];

/// How much is checked. Each level has what those before it have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    None,
    /// What takes the same time however large the disk is.
    Constant,
    /// What is in memory anyhow.
    Cached,
    /// Also what has to be read when the image is opened.
    All,
}

/// A set of structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts(u16);

impl Default for Parts {
    fn default() -> Self {
        Self::up_to(Level::Cached)
    }
}

impl Parts {
    /// Everything.
    pub(crate) fn all() -> Self {
        Self::up_to(Level::All)
    }

    fn up_to(level: Level) -> Self {
        let parts = PARTS.iter().enumerate().filter(|(_, (_, _, from))| *from <= level);
        Self(parts.map(|(bit, _)| 1 << bit).sum())
    }

    /// What the options of an open say: the level, and its details, `overlap-check.active-l2=off` and the
    /// like.
    pub(crate) fn of(options: &TypedOptions) -> Self {
        let mut parts = match options.choice("overlap-check") {
            Some("none") => Self::up_to(Level::None),
            Some("constant") => Self::up_to(Level::Constant),
            Some("all") => Self::up_to(Level::All),
            _ => Self::up_to(Level::Cached),
        };
        for (bit, (part, _, _)) in PARTS.iter().enumerate() {
            match options.switch(part) {
                Some(true) => parts.0 |= 1 << bit,
                Some(false) => parts.0 &= !(1 << bit),
                None => {}
            }
        }
        parts
    }

    /// Whether writes are checked against structures of that role. Where two claim a cluster, any check will
    /// do.
    pub(crate) fn has(self, role: Role) -> bool {
        match PARTS.iter().position(|(_, of, _)| *of == role) {
            Some(bit) => self.0 & 1 << bit != 0,
            None => self.0 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use blk_core::Options;

    use super::*;
    use crate::options::OPEN_OPTIONS;

    #[test]
    fn details_come_on_top_of_the_level() {
        let take = |options: Options| Parts::of(&options.typed("qcow2", OPEN_OPTIONS).unwrap());
        let usual = take(Options::new());
        assert!(usual.has(Role::L2Table) && usual.has(Role::Contested) && !usual.has(Role::InactiveL2Table));
        let constant = Options::new().with("overlap-check", "constant");
        assert!(!take(constant.clone()).has(Role::L2Table) && take(constant.clone()).has(Role::Header));
        assert!(take(constant.with("overlap-check.active-l2", "on")).has(Role::L2Table));
        let none = Options::new().with("overlap-check", "none");
        assert!(!take(none.clone()).has(Role::Header) && !take(none).has(Role::Contested));
        let all = Options::new().with("overlap-check", "all").with("overlap-check.main-header", "off");
        assert!(take(all.clone()).has(Role::InactiveL2Table) && !take(all).has(Role::Header));
        assert!(Options::new().with("overlap-check", "some").typed("qcow2", OPEN_OPTIONS).is_err());
    }
}
