//! Makes the generated parts of documents anew: `cargo xtask docs` runs it with their paths.

use std::{env, fs, io};

use m8refsvr_agent::metrics::reference::updated;

fn main() -> io::Result<()> {
    for path in env::args().skip(1) {
        let text = fs::read_to_string(&path)?;
        let new = updated(&text)
            .ok_or_else(|| io::Error::other(format!("{path}: a generated table has no <!-- end -->")))?;
        if new != text {
            fs::write(&path, new)?;
        }
    }
    Ok(())
}
