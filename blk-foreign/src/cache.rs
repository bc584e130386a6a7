//! Fresh images, as a foreign program makes them: it takes longer than a scenario, so they are kept.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use blk_core::storage::{FileStorage, read_data};
use blk_core::sync::Mutex;
use blk_core::{Error, MemoryStorage, Result, Storage};

use crate::description::Program;
use crate::process::{failed, run};
use crate::template::Names;
use crate::temporary;

/// Images that are kept.
const IMAGES_MAX: usize = 1000;
/// The most that an image may store, bytes.
const IMAGE_BYTES_MAX: u64 = 64 << 20;
const PIECE_BYTES: u64 = 64 << 10;

/// Images by the command that makes them.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    images: Mutex<HashMap<Vec<String>, Arc<MemoryStorage>>>,
}

impl Cache {
    /// The image that a program makes; or another one, of one that it has made with another size alone.
    pub(crate) fn image(
        &self,
        program: &Program,
        resize: Option<&Program>,
        names: &Names,
    ) -> Result<Arc<MemoryStorage>> {
        let programs = [Some(program), resize].into_iter().flatten();
        let key: Vec<String> = programs.flat_map(|program| names.words(&program.argv)).collect();
        if let Some(image) = self.images.lock().get(&key) {
            return Ok(Arc::clone(image));
        }
        let image = match resize {
            None => make(program, names, None)?,
            Some(resize) => self.resized(program, resize, names)?,
        };
        let image = Arc::new(image);
        let mut images = self.images.lock();
        if images.len() >= IMAGES_MAX {
            images.clear();
        }
        images.insert(key, Arc::clone(&image));
        Ok(image)
    }

    /// An image of another size made of the first one, which is made if there is none.
    fn resized(&self, program: &Program, resize: &Program, names: &Names) -> Result<MemoryStorage> {
        let key = names.clone().with("size", "*").words(&program.argv);
        let first = self.images.lock().get(&key).cloned();
        if let Some(first) = first {
            return make(resize, names, Some(&*first));
        }
        let first = make(program, names, None)?;
        self.images.lock().insert(key, Arc::new(first.duplicate()));
        Ok(first)
    }
}

/// Has a program work on a file; its exit code has to be a good one. Errors say `{file}` where the program
/// says the name of the file, which is another one each time.
pub(crate) fn work_on(program: &Program, names: &Names, file: &Path) -> Result<()> {
    let words = names.clone().with("file", file.display()).words(&program.argv);
    let (status, said) = run(&words)?;
    if status.code().is_some_and(|code| program.good.contains(&code)) {
        return Ok(());
    }
    let why = format!("{}, {status}: {said}", words.join(" "));
    Err(failed(&words[0], why.replace(&file.display().to_string(), "{file}")))
}

/// The image that a program makes of `first`, or of nothing.
fn make(program: &Program, names: &Names, first: Option<&dyn Storage>) -> Result<MemoryStorage> {
    let folder = temporary::folder()?;
    let file = folder.path().join("image");
    if let Some(first) = first {
        let new = File::create_new(&file).map_err(|error| Error::io("create", 0, error))?;
        copy(first, &FileStorage::from_file(new)?)?;
    }
    work_on(program, names, &file)?;
    let file = File::open(file).map_err(|error| Error::io("open the new image", 0, error))?;
    let memory = MemoryStorage::new();
    copy(&FileStorage::from_file(file)?, &memory)?;
    Ok(memory)
}

/// Copies what a storage has; holes stay holes. A longer storage stays as long as it is.
pub(crate) fn copy(from: &dyn Storage, to: &dyn Storage) -> Result<()> {
    let length = from.len()?;
    if to.len()? < length {
        to.set_len(length)?;
    }
    read_data(from, PIECE_BYTES, IMAGE_BYTES_MAX, |at, piece| {
        if blk_core::bytes::is_zero(piece) { Ok(()) } else { to.write_at(at, piece) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_another_size_is_made_of_the_first_one() {
        let program = |script: &str| {
            let argv = ["sh", "-ec", script, "{file}", "{size}"].map(str::to_owned).to_vec();
            Program { argv, good: vec![0] }
        };
        let create = program("printf %s \"made $1\" >\"$0\"");
        let resize = program("printf %s \", then $1\" >>\"$0\"");
        let cache = Cache::default();
        let says = |resize: Option<&Program>, size: u64| {
            let image = cache.image(&create, resize, &Names::default().with("size", size)).unwrap();
            let mut bytes = vec![0; image.len().unwrap() as usize];
            image.read_at(0, &mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        for _ in 0..2 {
            assert_eq!(
                [5, 7, 9].map(|size| says(Some(&resize), size)),
                ["made 5", "made 5, then 7", "made 5, then 9"]
            );
        }
        assert_eq!(says(None, 8), "made 8");
    }

    #[test]
    fn what_a_program_says_of_a_file_is_the_same_wherever_the_file_lies() {
        let argv = ["sh", "-c", "echo $0 is bad >&2; exit 2", "{file}"].map(str::to_owned).to_vec();
        let program = Program { argv, good: vec![0] };
        let says = || {
            let folder = temporary::folder().unwrap();
            work_on(&program, &Names::default(), &folder.path().join("image")).unwrap_err().to_string()
        };
        let says = [says(), says()];
        assert_eq!(says[0], says[1]);
        assert!(says[0].contains("{file} is bad") && says[0].contains("exit status: 2"), "{}", says[0]);
    }
}
