//! The entry points on seeds from the tree, as they are and mutated: so they keep compiling,
//! keep accepting what is right, and a second's worth of luck is tried on every run.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::TARGETS;

/// Where the seeds of an entry point lie: its own, then files of the tree that it reads.
fn folders(name: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("fuzz/seeds").join(name)];
    folders.extend(match name {
        "rules" => vec![root.join("rules")],
        "scenario" | "yaml" => vec![
            root.join("scenarios"),
            root.join("scenarios/bad-days"),
            root.join("scenarios/gate"),
        ],
        _ => Vec::new(),
    });
    folders
}

fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = folders(name).into_iter().flat_map(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut paths: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.sort();
        paths
    });
    files
        .filter_map(|path| Some((path.clone(), std::fs::read(path).ok()?)))
        .collect()
}

#[derive(Debug, Clone)]
enum Edit {
    Cut(usize, usize),
    Put(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let word = prop_oneof![
        any::<[u8; 1]>().prop_map(|byte| byte.to_vec()),
        Just(b"-9223372036854775808".to_vec()),
        Just(b"1e308".to_vec()),
        Just(b"99999999999999999999y".to_vec()),
        Just(b"&a [*a, *a]".to_vec()),
        Just(b"null".to_vec()),
        Just(b"[[[[[[[[".to_vec()),
        Just("\u{2028}\u{fffd}ß".into()),
    ];
    prop_oneof![
        (any::<usize>(), 0usize..40).prop_map(|(at, len)| Edit::Cut(at, len)),
        (any::<usize>(), word).prop_map(|(at, word)| Edit::Put(at, word)),
        (any::<usize>(), 1usize..200).prop_map(|(at, len)| Edit::Repeat(at, len)),
    ]
}

fn edited(mut seed: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let place = |at: usize| at % (seed.len() + 1);
        match edit {
            Edit::Cut(at, len) => {
                let (from, to) = (place(*at), (place(*at) + len).min(seed.len()));
                seed.drain(from..to);
            }
            Edit::Put(at, word) => {
                let at = place(*at);
                seed.splice(at..at, word.iter().copied());
            }
            Edit::Repeat(at, len) => {
                let (from, to) = (place(*at), (place(*at) + len).min(seed.len()));
                let piece = seed[from..to].to_vec();
                seed.splice(from..from, piece);
            }
        }
    }
    seed
}

#[test]
fn every_entry_point_has_seeds_and_takes_them() {
    let mut wrong = Vec::new();
    for target in TARGETS {
        let seeds = seeds(target.name);
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        for (path, seed) in seeds {
            let accepted = (target.run)(&seed);
            let ours = path.components().any(|part| part.as_os_str() == "seeds");
            if ours && accepted == refused(&path) {
                wrong.push(path);
            }
        }
        (target.run)(b"");
    }
    assert_eq!(wrong, Vec::<PathBuf>::new(), "accepted or refused amiss");
}

/// Seeds that must be refused say so in their names; they are former finds, mostly.
fn refused(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("refused")
}

#[test]
fn the_list_of_targets_is_the_one_that_is_fuzzed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let fuzzed = manifest.matches("[[bin]]").count();
    assert_eq!(fuzzed, TARGETS.len(), "fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn no_mutated_seed_makes_an_entry_point_crash(
        target in 0..TARGETS.len(),
        seed in any::<prop::sample::Index>(),
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        let seeds = seeds(TARGETS[target].name);
        let seed = seeds[seed.index(seeds.len())].1.clone();
        (TARGETS[target].run)(&edited(seed, &edits));
    }
}
