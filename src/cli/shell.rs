//! `sluice completion` and `sluice man`: what a shell and `man` are told of the commands.
//!
//! Both are made from the arguments' own definitions, so they cannot fall behind. Not here:
//! completing the names of Rollouts.

use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::Shell;

use super::{Error, Screen};

/// Arguments of `sluice completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// The shell that is to complete
    #[arg(value_enum)]
    shell: Shell,
}

/// Arguments of `sluice man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write a page for each command into this directory, which must exist
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Prints the script that makes the shell complete commands and options.
pub fn completion(
    screen: &mut Screen,
    mut command: clap::Command,
    arguments: &Completion,
) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "sluice", &mut script);
    screen.print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page, or writes those of all commands.
pub fn man(screen: &mut Screen, command: clap::Command, arguments: &Man) -> Result<(), Error> {
    if let Some(directory) = &arguments.to {
        return clap_mangen::generate_to(command, directory)
            .map_err(|error| cannot_write(directory, &error));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Error::Format(error.to_string()))?;
    screen.print(&String::from_utf8_lossy(&page))
}

fn cannot_write(directory: &Path, error: &std::io::Error) -> Error {
    Error::Usage(format!(
        "cannot write manual pages into {}: {error}",
        directory.display()
    ))
}
