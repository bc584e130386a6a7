//! When a request in flight gives way to another lane: what a schedule is made of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The most points that a turn counts.
pub const POINTS_MAX: u8 = 63;

const BACK: u8 = 0x40;
const AGAIN: u8 = 0x80;

/// When a request gives way; one byte of a schedule, which has one for each request.
///
/// ```text
/// bits 0..6  after so many points of the request; 0: never
/// bit 6      to the lane before this one, rather than to the next
/// bit 7      and again whenever as many points have passed
/// ```
/// In text: `@3`, `@3<`, `@3*`, `@3<*`. The default is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub struct Turn(u8);

impl Turn {
    /// The turn that a byte stands for; any does.
    pub fn from_byte(byte: u8) -> Self {
        if byte & POINTS_MAX == 0 { Self(0) } else { Self(byte) }
    }

    /// A turn after `points` points, at most [`POINTS_MAX`].
    pub fn new(points: u8, is_back: bool, is_again: bool) -> Self {
        let flags = if is_back { BACK } else { 0 } | if is_again { AGAIN } else { 0 };
        Self::from_byte(points.min(POINTS_MAX) | flags)
    }

    /// The byte that stands for it.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// Whether it ever comes.
    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    /// The points that pass before it; 0: it never comes.
    pub fn points(self) -> u8 {
        self.0 & POINTS_MAX
    }

    /// Whether the lane before this one goes on, rather than the next.
    pub fn is_back(self) -> bool {
        self.0 & BACK != 0
    }

    /// Whether it comes again and again.
    pub fn is_again(self) -> bool {
        self.0 & AGAIN != 0
    }

    /// Whether it comes when the request is at its point number `point`, counted from 1.
    pub fn comes_at(self, point: u64) -> bool {
        let points = u64::from(self.points());
        !self.is_never() && (point == points || (self.is_again() && point.is_multiple_of(points)))
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('@')?;
        let (rest, is_again) = rest.strip_suffix('*').map_or((rest, false), |rest| (rest, true));
        let (rest, is_back) = rest.strip_suffix('<').map_or((rest, false), |rest| (rest, true));
        let points = rest.parse().ok().filter(|points| (1..=POINTS_MAX).contains(points))?;
        Some(Self::new(points, is_back, is_again))
    }
}

impl From<u8> for Turn {
    fn from(byte: u8) -> Self {
        Self::from_byte(byte)
    }
}

impl From<Turn> for u8 {
    fn from(turn: Turn) -> Self {
        turn.0
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |set: bool, text: &'static str| if set { text } else { "" };
        write!(f, "@{}{}{}", self.points(), flag(self.is_back(), "<"), flag(self.is_again(), "*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_texts_stand_for_turns() {
        for byte in 0..=255 {
            let turn = Turn::from_byte(byte);
            assert_eq!(turn.is_never(), byte & POINTS_MAX == 0);
            assert_eq!(Turn::from_byte(turn.byte()), turn);
            assert_eq!((Turn::from(byte), u8::from(turn)), (turn, turn.byte()));
            assert_eq!(Turn::parse(&turn.to_string()), Some(turn).filter(|turn| !turn.is_never()));
        }
        for text in ["", "3", "@", "@0", "@64", "@-1", "@3*<", "@3 "] {
            assert_eq!(Turn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn turns_come_once_or_again() {
        let comes = |text: &str| {
            let turn = Turn::parse(text).unwrap();
            (0..8).filter(|point| turn.comes_at(*point)).collect::<Vec<_>>()
        };
        assert_eq!(comes("@3"), [3]);
        assert_eq!(comes("@3<*"), [0, 3, 6]);
        assert!(!Turn::default().comes_at(0));
    }
}
