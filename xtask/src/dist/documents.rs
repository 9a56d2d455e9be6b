//! The documents in the packages, and the examples to which they link.

use std::path::Path;

use anyhow::Result;

use super::tree::{FILE, PROGRAM, Tree};
use crate::{files, paths};

/// Files and folders of the checkout.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "CHANGELOG.md",
    "ARCHITECTURE.md",
    "docs",
    "packaging/cap-sys-admin.conf",
    "packaging/gateway.yaml",
    "packaging/kubernetes",
];

/// Puts them below a folder, at the same paths as in the checkout, so that their links work.
pub(super) fn install(tree: &Tree, folder: &str) -> Result<()> {
    let root = paths::root();
    // The Containerfile runs a script.
    let mode =
        |path: &str| if Path::new(path).extension().is_some_and(|end| end == "sh") { PROGRAM } else { FILE };
    all()?.iter().try_for_each(|path| tree.put(&root.join(path), &format!("{folder}{path}"), mode(path)))
}

/// The paths of all files, below the checkout.
fn all() -> Result<Vec<String>> {
    let root = paths::root();
    let files =
        DOCUMENTS.iter().map(|path| files::files_below(&root.join(path))).collect::<Result<Vec<_>>>()?;
    let below = |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned();
    Ok(files.concat().iter().map(|path| below(path)).collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_link_leads_to_a_document() {
        let root = paths::root();
        let shipped: Vec<PathBuf> =
            all().unwrap().iter().map(|path| root.join(path).canonicalize().unwrap()).collect();
        let mut links = 0;
        for page in shipped.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        {
            let text = files::read_text(page).unwrap();
            let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
                let path = page.parent().unwrap().join(target);
                assert!(
                    path.canonicalize().is_ok_and(|path| shipped.contains(&path)),
                    "{}: {target}",
                    page.display()
                );
                links += 1;
            }
        }
        assert!(links > 10, "{links}");
    }
}
