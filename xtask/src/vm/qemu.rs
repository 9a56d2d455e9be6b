//! A virtual machine: qemu with software emulation, which needs no support by this host. Its console is read line by
//! line, and written to a file.

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

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// The kernel's command line; the parameters that every machine needs are added.
    pub(crate) command_line: String,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Images of the virtio disks /dev/vda, /dev/vdb and so on.
    pub(crate) disks: Vec<PathBuf>,
    /// Whether a reboot boots it again; otherwise a reboot ends it.
    pub(crate) reboots: bool,
}

/// A running machine; qemu is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    process: Child,
    lines: Receiver<String>,
    until: Instant,
    limit: Duration,
}

impl Machine {
    /// Boots the machine. Waiting for it fails after `limit`. Its output is written to `console`.
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
            // -cx16: qemu 7.2 emulates cmpxchg16b wrongly, so that Linux 6.12 panics at boot. -erms,-fsrm: fast string
            // instructions are slow in emulation. thread=single: with a thread for each CPU, one CPU may run kernel
            // code that another has just patched, and they wait long for each other.
            .args(["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max,-cx16,-erms,-fsrm"])
            .args(["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initrd)
            // panic=-1: reboot at once. norandmaps: qemu caches translated code by address, so without address space
            // randomization processes start ten times as fast.
            .args(["-append", &format!("console=ttyS0 panic=-1 norandmaps {}", self.command_line)]);
        for disk in &self.disks {
            // cache=unsafe: the disk need not survive a crash of this host.
            command.arg("-drive");
            command.arg(format!("if=virtio,format=raw,cache=unsafe,file={}", disk.display()));
        }
        if !self.reboots {
            command.arg("-no-reboot");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }
}

/// Reads the console until its end.
fn read(output: ChildStdout, mut file: File, lines: &Sender<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        // The machine continues if the file can't be written or nobody receives the lines.
        let _ = file.write_all(&line);
        let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

impl Running {
    /// The next line of the console; `None` after the machine has ended.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>> {
        match self.lines.recv_timeout(self.until.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("the machine did not end within {:?}", self.limit),
        }
    }

    /// Waits for a line with this prefix; returns the rest of it.
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
        // Fails only if qemu has exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
