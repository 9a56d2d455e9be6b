//! The demonstration load of `cargo xtask run`: this program again, under the name M8RefSvr.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::paths;

const NAME: &str = "M8RefSvr";

/// A running demonstration load; ends when dropped.
pub(crate) struct Load {
    process: Child,
}

impl Load {
    pub(crate) fn start() -> Result<Self> {
        let folder = folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let program = folder.join(NAME);
        let this = std::env::current_exe().context("cannot tell where this program is")?;
        fs::copy(&this, &program).with_context(|| format!("cannot write {}", program.display()))?;
        let mut process = Command::new(&program)
            .arg("demo-load")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        // It says a byte once it works: before that it may not even have its name.
        let mut ready = [0; 1];
        if let Some(output) = &mut process.stdout {
            output.read_exact(&mut ready).context("the demonstration load did not start")?;
        }
        Ok(Self { process })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(folder());
    }
}

fn folder() -> PathBuf {
    paths::target().join("demo")
}

/// What the load does: one thread computes a third of the time, one waits often, one writes to the disk.
/// Ends with its standard input, or after two minutes.
pub(crate) fn load() -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    let path = folder_of_this_program()?.join("written");
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    thread::spawn(|| {
        loop {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(10) {}
            thread::sleep(Duration::from_millis(20));
        }
    });
    thread::spawn(|| {
        loop {
            thread::sleep(Duration::from_millis(1));
        }
    });
    thread::spawn(move || {
        let block = vec![1; 1 << 20];
        loop {
            // A full disk ends the writing, not the demonstration.
            if file.write_all(&block).and_then(|()| file.sync_data()).is_err()
                || rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).is_err()
            {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    let mut output = std::io::stdout();
    output.write_all(b"\n").and_then(|()| output.flush()).context("nobody waits for this load")?;
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    thread::sleep(end - Instant::now());
    Ok(())
}

fn folder_of_this_program() -> Result<PathBuf> {
    let mut path = std::env::current_exe().context("cannot tell where this program is")?;
    path.pop();
    Ok(path)
}
