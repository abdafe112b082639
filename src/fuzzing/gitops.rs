//! What lies in a `GitOps` repository: manifests and the kustomizations that put them together.

use std::collections::BTreeMap;

use super::text;
use crate::kustomize::{Files, Objects, build, build_partly};

/// What an object's name may be, in bytes: longer ones come from prefixes put before each other.
const GROWTH: usize = 64;

/// A folder with these files; a line `# file: name` begins each.
struct Folder(BTreeMap<String, String>);

impl Files for Folder {
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        Ok(self.0.get(path).cloned())
    }

    fn list(&self, path: &str) -> Result<Option<Vec<String>>, String> {
        let names = self.0.keys().filter_map(|name| {
            let rest = match path {
                "" => name,
                _ => name.strip_prefix(path)?.strip_prefix('/')?,
            };
            let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
            Some(format!(
                "{first}{}",
                if below.is_empty() { "" } else { "/" }
            ))
        });
        let names: Vec<String> = names.collect();
        Ok((!names.is_empty()).then_some(names))
    }
}

/// Building the same twice gives the same, and no more than the files could say; in part, the whole or the first gap.
pub fn kustomize(data: &[u8]) -> bool {
    let text = text(data);
    let mut folder = Folder(BTreeMap::new());
    for part in text.split("# file: ").skip(1) {
        let (name, content) = part.split_once('\n').unwrap_or((part, ""));
        folder.0.insert(name.trim().to_owned(), content.to_owned());
    }
    let built = build(&folder, "");
    assert_eq!(built, build(&folder, ""), "twice is not the same");
    let partly = build_partly(&folder, "");
    let whole = match partly.gaps.first() {
        Some(gap) => Err(gap.error.clone()),
        None => partly.objects.map(|Objects { known, .. }| known),
    };
    assert_eq!(built, whole, "in part is another thing");
    match built {
        Ok(objects) => {
            let size: usize = objects.iter().map(|object| object.to_string().len()).sum();
            let most = (text.len() + 1).saturating_mul(GROWTH).max(200_000);
            assert!(size <= most, "{} bytes became {size}", text.len());
            !objects.is_empty()
        }
        Err(error) => {
            assert!(!error.why.is_empty());
            false
        }
    }
}
