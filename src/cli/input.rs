//! What a command is given to read: a file, or standard input as `-`.

use std::io::Read;
use std::path::Path;

use super::Error;

/// The whole text of a file, or of standard input where it is `-`.
pub(super) fn read(file: &Path) -> Result<String, Error> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| Error::Usage(format!("cannot read {}: {error}", file.display())))
}
