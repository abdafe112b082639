//! `sluice judge [FILE|-]`: verdicts for a stream of counts, by the daemon's own tests.
//!
//! A line is one tick of one run; runs may be interleaved. Bad lines are told on stderr with their
//! number and change nothing, not the exit code either. Nothing is kept of a line but sums, so that a
//! stream may be endless.
//!
//! Not here: what is judged and how (`rollout::evidence::judge`).

mod json;
pub mod line;
pub(super) mod options;
mod output;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Error, Screen};
use crate::rollout::evidence::judge::{Fault, Judge};
use line::Lines;
use output::Writer;

/// The longest line in bytes; longer ones are bad.
const LONGEST: u64 = 1 << 20;
const BUFFER: usize = 1 << 18;

/// Arguments.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Lines of JSON, one a tick; `-` is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Take margins and names from this rule file, at most one rule of each kind
    #[arg(long, value_name = "FILE")]
    rule: Option<PathBuf>,
    /// Margins and block together: default (1.2, 0.1%, 2s), strict (1, 0, 2s), robust (1.5, 0.1%, 5s)
    #[arg(long, value_enum, default_value_t = Preset::Default)]
    preset: Preset,
    /// The probability that a run within its margin is ever called worse
    #[arg(long, value_name = "SHARE", default_value = "0.01", value_parser = options::chance)]
    alpha: f64,
    /// The tolerated ratio of the bad shares, 1 or more
    #[arg(long, value_name = "RATIO", value_parser = options::ratio)]
    rho: Option<f64>,
    /// The tolerated difference of the bad shares: 0.001 or 0.1%
    #[arg(long, value_name = "SHARE", value_parser = options::share)]
    delta: Option<f64>,
    /// The length of a block of the block witness: seconds, or a duration as 5s
    #[arg(long, value_name = "TIME", value_parser = options::length)]
    block: Option<f64>,
    /// The share of all requests that may go bad unnoticed: 0.002 or 0.2%
    #[arg(long, value_name = "SHARE", default_value = "0.2%", value_parser = options::chance)]
    blast: f64,
    /// The weight after the present one in percent, at which the blast is meant
    #[arg(long, value_name = "WEIGHT", default_value = "100", value_parser = options::weight)]
    next_weight: f64,
    /// What is not counted after a change of weight: seconds, or a duration as 3s
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = options::time)]
    settle: f64,
    /// A line a tick instead of a line a run
    #[arg(long)]
    each: bool,
}

/// Margins and block together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Ratio 1.2, difference 0.1%, blocks of 2 s.
    Default,
    /// Ratio 1, no difference, blocks of 2 s.
    Strict,
    /// Ratio 1.5, difference 0.1%, blocks of 5 s.
    Robust,
}

/// What was read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    lines: u64,
    bad: u64,
}

/// Judges the stream.
pub fn judge(screen: &mut Screen, arguments: &Arguments) -> Result<(), Error> {
    let mut judge = Judge::new(options::terms(arguments)?);
    let mut input = open(&arguments.file)?;
    let mut writer = Writer::new(screen.format(), arguments.each);
    let tally = stream(&mut input, &mut judge, &mut writer).map_err(|error| match error {
        Failure::Read(error) => unreadable(&arguments.file, &error),
        Failure::Write(error) => error,
    })?;
    if tally.bad > 0 {
        let Tally { lines, bad } = tally;
        anstream::eprintln!("{bad} of {lines} lines were bad and left out");
    }
    judge.finish();
    writer.end(screen, &judge)
}

/// Why a stream was not read to its end.
enum Failure {
    Read(std::io::Error),
    Write(Error),
}

fn unreadable(file: &Path, error: &std::io::Error) -> Error {
    Error::Usage(format!("cannot read {}: {error}", file.display()))
}

fn open(file: &Path) -> Result<BufReader<Box<dyn Read>>, Error> {
    let read: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(|error| unreadable(file, &error))?)
    };
    Ok(BufReader::with_capacity(BUFFER, read))
}

/// Reads to the end; tells bad lines.
fn stream(
    input: &mut BufReader<Box<dyn Read>>,
    judge: &mut Judge,
    writer: &mut Writer,
) -> Result<Tally, Failure> {
    let (mut tally, mut line, mut lines) = (Tally::default(), Vec::new(), Lines::default());
    loop {
        line.clear();
        let whole = next_line(input, &mut line).map_err(Failure::Read)?;
        if line.is_empty() {
            return Ok(tally);
        }
        tally.lines += 1;
        let text = trimmed(&line, tally.lines == 1);
        if text.is_empty() {
            continue;
        }
        let taken = if whole {
            lines.read(text, |tick| judge.observe(tick))
        } else {
            Err(too_long())
        };
        match taken {
            Ok(place) => writer.tick(judge, place).map_err(Failure::Write)?,
            Err(fault) => {
                tally.bad += 1;
                anstream::eprintln!("line {}: {fault}", tally.lines);
            }
        }
        // A person who watches a slow stream sees each line; a fast one is written in large parts.
        if input.buffer().is_empty() {
            writer.flush().map_err(Failure::Write)?;
        }
    }
}

fn too_long() -> Fault {
    let found = format!("more than {LONGEST} bytes");
    Fault::new("the line", found, "a shorter one")
}

/// Reads one line; of one that is too long only the beginning, and `false`.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    input.by_ref().take(LONGEST).read_until(b'\n', line)?;
    if line.len() as u64 >= LONGEST && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
        return Ok(false);
    }
    Ok(true)
}

/// Without the spaces at both ends; the first line without a byte order mark.
fn trimmed(line: &[u8], first: bool) -> &[u8] {
    let line = line.trim_ascii();
    if first {
        line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_too_long_are_passed_over() {
        let mut text = vec![b'x'; 3 << 20];
        text.extend(b"\nnext\nlast");
        let mut input = BufReader::new(&text[..]);
        let mut read = Vec::new();
        loop {
            let mut line = Vec::new();
            let whole = next_line(&mut input, &mut line).unwrap();
            if line.is_empty() {
                break;
            }
            read.push((whole, line.len()));
        }
        assert_eq!(read, [(false, 1 << 20), (true, 5), (true, 4)]);
    }

    #[test]
    fn ends_of_lines_are_no_content() {
        assert_eq!(trimmed(b"\xef\xbb\xbf{}\r\n", true), b"{}");
        assert_eq!(trimmed(b" \r\n", false), b"");
    }
}
