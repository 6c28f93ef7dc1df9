//! Models in several files, `name-00001-of-00003.gguf` and so on. The first has the metadata of the model, each has some of the tensors.

use std::path::{Path, PathBuf};

use super::reader::{Contents, Metadata};
use crate::ModelError;

/// Files of no published model are more.
const MOST: usize = 1000;

/// All files of the model that a file belongs to, in order, by its name. A file whose name doesn't say that there are others is alone.
///
/// # Errors
/// [`ModelError::File`], which names those that are missing.
pub(crate) fn paths(path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let Some(name) = PartName::of(path) else { return Ok(vec![path.to_owned()]) };
    let paths: Vec<PathBuf> = (1..=name.count).map(|part| path.with_file_name(name.of_part(part))).collect();
    let missing: Vec<String> =
        (1..=name.count).zip(&paths).filter(|(_, path)| !path.is_file()).map(|(part, _)| name.of_part(part)).collect();
    if missing.is_empty() {
        return Ok(paths);
    }
    const NAMED: usize = 5;
    let more = if missing.len() > NAMED { format!(" and {} more", missing.len() - NAMED) } else { String::new() };
    let named = missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let message = format!("one of {} files of a model; put the others into the same folder: {named}{more}", name.count);
    Err(ModelError::File { path: path.to_owned(), message })
}

/// The first of a model's files, which has the tokenizer.
pub(crate) fn first_part(path: &Path) -> PathBuf {
    PartName::of(path).map_or_else(|| path.to_owned(), |name| path.with_file_name(name.of_part(1)))
}

/// Checks that files say what their names say: that they are all parts of one model, in order.
pub(super) fn check(files: &[(&Path, &[u8])], contents: &[Contents]) -> Result<(), ModelError> {
    for (at, ((path, _), contents)) in files.iter().zip(contents).enumerate() {
        let number = |key: &str, absent: usize| match contents.metadata.get(key) {
            None => Ok(absent),
            Some(Metadata::Integer(number)) if (0..=MOST as i128).contains(number) => Ok(*number as usize),
            Some(other) => {
                let message = format!("metadata `{key}`: expected a number of files, found {}", other.shortened());
                Err(ModelError::File { path: (*path).to_owned(), message })
            }
        };
        // 0 is written where a file is alone.
        let (part, count) = (number("split.no", 0)? + 1, number("split.count", 1)?.max(1));
        let message = if count != files.len() && files.len() == 1 {
            format!(
                "part {part} of {count} of a model; open it from a folder with the others, by its published name, which ends with \
                 `-{part:05}-of-{count:05}.gguf`"
            )
        } else if count != files.len() || part != at + 1 {
            format!("its name says part {} of {} of a model, but it is part {part} of {count}", at + 1, files.len())
        } else {
            continue;
        };
        return Err(ModelError::File { path: (*path).to_owned(), message });
    }
    Ok(())
}

/// A name that says that there are several files.
struct PartName<'a> {
    /// What comes before the numbers.
    stem: &'a str,
    count: usize,
}

impl<'a> PartName<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        let (rest, count) = path.file_name()?.to_str()?.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, part) = rest.rsplit_once('-')?;
        let number = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|digit| digit.is_ascii_digit());
            if plain { digits.parse::<usize>().ok() } else { None }
        };
        let (part, count) = (number(part)?, number(count)?);
        (1 <= part && part <= count && count <= MOST).then_some(Self { stem, count })
    }

    fn of_part(&self, part: usize) -> String {
        format!("{}-{part:05}-of-{:05}.gguf", self.stem, self.count)
    }
}
