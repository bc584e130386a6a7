//! Shrinks a hostile image: as much as possible of it becomes a valid template again.

use super::templates::templates;

/// A hostile image of which only what matters differs from a template.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The image.
    pub image: Vec<u8>,
    /// What differs from the template, a line for each 8 bytes.
    pub changes: Vec<String>,
}

const WORD_BYTES: usize = 8;

/// Finds the template that most bytes agree with, and takes back every difference that `still_fails` does not
/// need. Returns the template's name too.
pub fn nearest_template(image: &[u8], still_fails: &mut dyn FnMut(&[u8]) -> bool) -> (&'static str, Shrunk) {
    let nearest = templates()
        .iter()
        .min_by_key(|template| {
            differing(image, &template.image).len() + image.len().abs_diff(template.image.len())
        })
        .expect("there are templates");
    let mut best = image.to_vec();
    let mut resized = image.to_vec();
    resized.resize(nearest.image.len(), 0);
    if still_fails(&resized) {
        best = resized;
    }
    let mut step = differing(&best, &nearest.image).len().max(1);
    while step > 0 {
        for words in differing(&best, &nearest.image).chunks(step) {
            let mut candidate = best.clone();
            for at in words {
                let end = (at + WORD_BYTES).min(candidate.len()).min(nearest.image.len());
                candidate[*at..end].copy_from_slice(&nearest.image[*at..end]);
            }
            if still_fails(&candidate) {
                best = candidate;
            }
        }
        step /= 2;
    }
    let changes =
        differing(&best, &nearest.image).into_iter().map(|at| change(&best, &nearest.image, at)).collect();
    (&nearest.name, Shrunk { image: best, changes })
}

/// Offsets of the 8-byte words in which both differ, as far as both reach.
fn differing(a: &[u8], b: &[u8]) -> Vec<usize> {
    let words = a.chunks(WORD_BYTES).zip(b.chunks(WORD_BYTES)).enumerate();
    words.filter(|(_, (a, b))| a != b).map(|(index, _)| index * WORD_BYTES).collect()
}

fn change(image: &[u8], template: &[u8], at: usize) -> String {
    let word = |bytes: &[u8]| {
        let mut word = [0; WORD_BYTES];
        let part = &bytes[at..bytes.len().min(at + WORD_BYTES)];
        word[..part.len()].copy_from_slice(part);
        u64::from_be_bytes(word)
    };
    format!("image offset {at:#x}: {:#018x} instead of {:#018x}", word(image), word(template))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_stays_different() {
        let mut image = templates()[3].image.clone();
        for at in (64..2000).step_by(40) {
            image[at] ^= 0x55;
        }
        let mut needs_two = |image: &[u8]| image[104] != templates()[3].image[104] && image[1984] != 0x20;
        assert!(needs_two(&image));
        let (name, shrunk) = nearest_template(&image, &mut needs_two);
        assert_eq!(name, templates()[3].name);
        assert!(needs_two(&shrunk.image));
        assert!(shrunk.changes.len() <= 2, "{:?}", shrunk.changes);
    }
}
