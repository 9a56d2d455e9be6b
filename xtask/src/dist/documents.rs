//! What there is to read, and the examples that it links to.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::tree::{FILE, PROGRAM, Tree};
use crate::host;

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

/// Puts them below a folder as they lie in the checkout, so that what links to another finds it.
pub(super) fn install(tree: &Tree, folder: &str) -> Result<()> {
    let root = host::root();
    // The Containerfile runs a script.
    let mode =
        |path: &str| if Path::new(path).extension().is_some_and(|end| end == "sh") { PROGRAM } else { FILE };
    all()?.iter().try_for_each(|path| tree.put(&root.join(path), &format!("{folder}{path}"), mode(path)))
}

/// The paths of all files.
fn all() -> Result<Vec<String>> {
    let root = host::root();
    let mut files = Vec::new();
    for document in DOCUMENTS {
        list(&root, document, &mut files)?;
    }
    Ok(files)
}

fn list(root: &Path, path: &str, files: &mut Vec<String>) -> Result<()> {
    let full = root.join(path);
    if !full.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let cannot = || format!("cannot read {}", full.display());
    for entry in fs::read_dir(&full).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        list(root, &format!("{path}/{}", name.to_string_lossy()), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_link_leads_to_a_document() {
        let root = host::root();
        let shipped: Vec<PathBuf> =
            all().unwrap().iter().map(|path| root.join(path).canonicalize().unwrap()).collect();
        let mut links = 0;
        for page in shipped.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        {
            let text = fs::read_to_string(page).unwrap();
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
