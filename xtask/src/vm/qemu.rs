//! One machine: qemu under software emulation, which any machine can run. What it writes on its console is read as it
//! comes, and kept in a file.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// What a machine is made of.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// What the kernel is told beside where its console is.
    pub(crate) command_line: String,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Files that are its disks, by virtio: /dev/vda, /dev/vdb and so on.
    pub(crate) disks: Vec<PathBuf>,
    /// Whether it has a network card; what is behind it is this host, at 10.0.2.2.
    pub(crate) network: bool,
    /// Whether it boots again when it is told to; else a reboot ends it.
    pub(crate) reboots: bool,
}

/// A machine that runs; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    process: Child,
    lines: Receiver<String>,
    until: Instant,
    limit: Duration,
}

impl Machine {
    /// Starts it. After `limit` it is ended; `console` keeps what it writes.
    pub(crate) fn start(&self, console: &Path, limit: Duration) -> Result<Running> {
        let file = File::create(console).with_context(|| format!("cannot write {}", console.display()))?;
        let mut process = self.command().spawn().context("cannot start qemu-system-x86_64")?;
        let output = process.stdout.take().context("qemu has no output")?;
        let (sender, lines) = channel();
        thread::spawn(move || read(output, file, &sender));
        Ok(Running { process, lines, until: Instant::now() + limit, limit })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"])
            // Without cmpxchg16b: qemu 7.2 emulates it wrongly, and Linux 6.12 panics of it at boot. Nor the fast ways to
            // move single bytes, which are slow in emulation. All its CPUs are one thread of this host: with several, one
            // may run what another has just replaced in the kernel's code, and they wait for each other for long.
            .args(["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max,-cx16,-erms,-fsrm"])
            .args(["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            // A panic is a reboot at once. Programs are always at the same addresses, as qemu keeps what it has translated
            // by address: processes start ten times as fast.
            .args(["-append", &format!("console=ttyS0 panic=-1 norandmaps {}", self.command_line)]);
        for disk in &self.disks {
            // Nobody needs what is on it when this host breaks down.
            command.arg("-drive");
            command.arg(format!("if=virtio,format=raw,cache=unsafe,file={}", disk.display()));
        }
        if self.network {
            command.args(["-nic", "user,model=virtio-net-pci"]);
        }
        if !self.reboots {
            command.arg("-no-reboot");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}

/// Reads the console until nobody can write to it any more.
fn read(output: ChildStdout, mut file: File, lines: &Sender<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        // The machine runs on where the file can't be written, or nobody waits for a line.
        let _ = file.write_all(&line);
        let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

impl Running {
    /// The next line on the console; `None` when the machine has ended.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(self.until.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("the machine did not end within {:?}", self.limit),
        }
    }

    /// Waits for a line that begins like this; returns the rest of it.
    pub(crate) fn wait_for(&mut self, start: &str) -> Result<String> {
        while let Some(line) = self.next_line()? {
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.to_owned());
            }
        }
        bail!("the machine ended before it wrote {start:?}")
    }

    /// Waits until the machine has ended.
    pub(crate) fn wait(mut self) -> Result<()> {
        while self.next_line()?.is_some() {}
        let status = self.process.wait().context("cannot wait for qemu")?;
        if !status.success() {
            bail!("qemu ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
