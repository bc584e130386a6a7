//! What a driver promises of its images beyond what every driver has to, and what of an image is nobody's but
//! others'.

/// What a driver promises. Nothing is promised by default, and nothing is asked then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "promises are independent of one another")]
pub struct Promises {
    /// Whole units inside of a discard have no place in the storage any more.
    pub discard_gives_back: bool,
    /// Nor have whole units inside of zeroes that may unmap.
    pub unmap_gives_back: bool,
    /// Whole units that have a place in the storage, and are zeroed and may not be unmapped, have it
    /// afterwards too.
    pub zeroes_keep_place: bool,
    /// What was given back is used again once a flush has succeeded: to write, to discard and to flush again
    /// and again makes the storage no longer.
    pub reuses: bool,
    /// A block status tells a host offset of all data that is not compressed.
    pub tells_host_offset: bool,
    /// A handle that has answered a change or a flush with [`Poisoned`](blk_core::Error::Poisoned) refuses
    /// all changes from then on, and changes nothing in the storage any more.
    pub stops_when_poisoned: bool,
    /// Where the handle goes on after a failure of the storage, and a flush has succeeded, nothing has
    /// leaked.
    pub leaks_nothing: bool,
    /// Between a flush that has succeeded and the next request, nothing changes the storage: no work goes on
    /// in the background.
    pub rests_after_flush: bool,
    /// Images can lie on a host that demands an alignment of offsets, lengths and buffers, up to 4096 bytes,
    /// and refuses all else.
    pub works_on_aligned_hosts: bool,
}

impl Promises {
    /// Nothing beyond the contract, as in [`Promises::default`].
    pub const NONE: Self = Self {
        discard_gives_back: false,
        unmap_gives_back: false,
        zeroes_keep_place: false,
        reuses: false,
        tells_host_offset: false,
        stops_when_poisoned: false,
        leaks_nothing: false,
        rests_after_flush: false,
        works_on_aligned_hosts: false,
    };
}

/// Something that others keep in an image, or that speaks for it, such as the content of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it is, for reports.
    pub name: String,
    /// A hash of it; 0 for nothing.
    pub digest: u64,
    /// How long it stays.
    pub lasts: Lasts,
}

/// How long something stays that others keep in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// It has to be as it was, whatever was done to the disk.
    Always,
    /// It has to be gone once the content of the disk has changed: it vouches for something that only its
    /// owner keeps up to date.
    UntilChanged,
    /// It may be gone once the image was amended, to a version of the format that has no place for it.
    UntilAmended,
}

/// Whether something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Was {
    #[default]
    No,
    Perhaps,
    Surely,
}

/// What was done to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Since {
    /// The content of the disk has changed.
    pub(crate) changed: Was,
    /// The image was amended.
    pub(crate) amended: Was,
}

/// What others kept, `before`, and is not in `after` as it has to be, in words.
pub(crate) fn lost(before: &[Kept], after: &[Kept], since: Since) -> Option<String> {
    let is_right = |before: &Kept| {
        let found = after.iter().find(|kept| kept.name == before.name).map_or(0, |kept| kept.digest);
        let (is_same, is_gone) = (found == before.digest, found == 0);
        match before.lasts {
            Lasts::UntilChanged if since.changed == Was::Surely => is_gone,
            Lasts::UntilChanged if since.changed == Was::Perhaps => is_same || is_gone,
            Lasts::UntilAmended if since.amended != Was::No => is_same || is_gone,
            _ => is_same,
        }
    };
    let wrong = before.iter().find(|kept| !is_right(kept))?;
    let vouches = wrong.lasts == Lasts::UntilChanged;
    let how = if vouches { "is not what it has to be" } else { "has changed" };
    Some(format!("{} {how}", wrong.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vouches_goes_with_a_change_and_all_else_stays() {
        let kept = |digest, lasts| vec![Kept { name: "a".to_owned(), digest, lasts }];
        let all = [Was::No, Was::Perhaps, Was::Surely];
        let changes = |lasts, after: &[Kept]| {
            let since = all.map(|changed| Since { changed, amended: Was::No });
            since.map(|since| lost(&kept(7, lasts), after, since).is_none())
        };
        let of = |lasts, found| changes(lasts, &kept(found, lasts));
        assert_eq!((of(Lasts::Always, 7), of(Lasts::Always, 8)), ([true; 3], [false; 3]));
        assert_eq!(changes(Lasts::Always, &[]), [false; 3]);
        assert_eq!(of(Lasts::UntilChanged, 7), [true, true, false]);
        assert_eq!(of(Lasts::UntilChanged, 0), [false, true, true]);
        assert_eq!(of(Lasts::UntilChanged, 8), [false; 3]);
        assert_eq!((of(Lasts::UntilAmended, 7), of(Lasts::UntilAmended, 0)), ([true; 3], [false; 3]));
        let amended = Since { changed: Was::Surely, amended: Was::Perhaps };
        let of = |lasts, found| lost(&kept(7, lasts), &kept(found, lasts), amended);
        assert_eq!([7, 0, 8].map(|found| of(Lasts::UntilAmended, found).is_none()), [true, true, false]);
        assert_eq!(of(Lasts::Always, 0).unwrap(), "a has changed");
        assert_eq!(of(Lasts::UntilChanged, 8).unwrap(), "a is not what it has to be");
    }
}
