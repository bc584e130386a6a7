//! What the bytes of an image file are for.

use crate::Extent;

/// What a part of an image file is for, in the words of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Role {
    /// Its name, such as `L2 table`.
    pub name: &'static str,
    /// One character for a map; no two roles of a format have the same.
    pub letter: char,
}

impl Role {
    /// What nothing refers to: every format may have it.
    pub const FREE: Self = Self { name: "free", letter: '.' };
    /// Guest data.
    pub const DATA: Self = Self { name: "data", letter: 'D' };
}

/// A part of an image file with one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Where it lies in the file, bytes.
    pub extent: Extent,
    /// What it is for.
    pub role: Role,
}

impl Region {
    /// Adds `length` bytes of a role behind `regions`, which follow one another without a gap.
    pub fn push(regions: &mut Vec<Self>, length: u64, role: Role) {
        match regions.last_mut() {
            Some(last) if last.role == role => last.extent.length += length,
            last => {
                let start = last.map_or(0, |last| last.extent.end());
                regions.push(Self { extent: Extent::new(start, length), role });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_role_are_one_region() {
        let mut regions = Vec::new();
        for role in [Role::DATA, Role::DATA, Role::FREE] {
            Region::push(&mut regions, 512, role);
        }
        let ends: Vec<u64> = regions.iter().map(|region| region.extent.end()).collect();
        assert_eq!(ends, [1024, 1536]);
    }
}
