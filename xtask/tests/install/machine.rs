//! A machine made of a few folders. Its programs are those of the host; the folders into which the script installs are
//! its own.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The folder from which the script installs.
pub(crate) const SOURCE: &str = "/srv/m8refsvr-agent";
/// Those of its files that `make_new_version` changes, besides the program.
const TEXT_FILES: [&str; 3] = ["m8refsvr-agent.service", "m8refsvr-agent.user.service", "agent.env"];
/// The ordinary user: Debian's `nobody`.
const USER: u32 = 65534;
/// Enters the machine in the folder `$0` by chroot with these arguments. The mounts are in a namespace of their own.
const ENTER: &str = r#"
for folder in usr proc dev; do mount --rbind "/$folder" "$0/$folder" || exit; done
mount --bind "$0/local" "$0/usr/local" && exec chroot "$@"
"#;

#[derive(Debug)]
pub(crate) struct Machine {
    root: TempDir,
    is_root: bool,
}

/// Owner, mode, and content or link target of every file and folder, by path.
pub(crate) type Files = BTreeMap<PathBuf, (u32, u32, String)>;

impl Machine {
    /// A machine with a running systemd, on which root installs.
    pub(crate) fn of_root() -> Self {
        Self::new(true)
    }

    /// A machine with a systemd for users, on which an ordinary user installs.
    pub(crate) fn of_user() -> Self {
        Self::new(false)
    }

    fn new(is_root: bool) -> Self {
        let machine = Self { root: TempDir::new().unwrap(), is_root };
        fs::set_permissions(machine.root.path(), Permissions::from_mode(0o755)).unwrap();
        for folder in
            ["usr", "local", "proc", "dev", "stubs", "opt", "var/log/private", "tmp", "run/systemd/system"]
        {
            fs::create_dir_all(machine.at(folder)).unwrap();
        }
        for folder in ["etc/systemd/system", SOURCE] {
            fs::create_dir_all(machine.at(folder)).unwrap();
        }
        for folder in ["tmp", "run"] {
            fs::set_permissions(machine.at(folder), Permissions::from_mode(0o777)).unwrap();
        }
        for folder in ["bin", "sbin", "lib", "lib64"] {
            symlink(format!("usr/{folder}"), machine.at(folder)).unwrap();
        }
        let home = machine.home();
        fs::create_dir_all(machine.at(&home)).unwrap();
        chown(machine.at(&home), Some(USER), Some(USER)).unwrap();
        let user = format!("user:x:{USER}:{USER}::{home}:/bin/sh");
        machine.write("/etc/passwd", &format!("root:x:0:0::/root:/bin/sh\n{user}\n"));
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for stub in ["systemctl", "crontab"] {
            fs::copy(checkout.join("xtask/tests/install").join(stub), machine.at("stubs").join(stub))
                .unwrap();
        }
        let source = machine.at(SOURCE);
        for file in TEXT_FILES.into_iter().chain(["install-m8refsvr-agent.sh"]) {
            fs::copy(checkout.join("packaging").join(file), source.join(file)).unwrap();
        }
        fs::copy(checkout.join("LICENSE"), source.join("LICENSE")).unwrap();
        for page in ["m8refsvr-agent.1", "m8refsvr-agent-check.1"] {
            machine.write(&format!("{SOURCE}/man/{page}"), ".TH m8refsvr-agent 1\n");
        }
        // In place of the agent: it runs for as many seconds as M8REFSVR_ARGS says, and fails without a number.
        fs::copy("/usr/bin/sleep", source.join("m8refsvr-agent")).unwrap();
        machine
    }

    /// The ordinary user's home. Its name is unique, as machines see each other's processes.
    pub(crate) fn home(&self) -> String {
        format!("/home/{}", self.root.path().file_name().unwrap().display())
    }

    /// The path on the host of a path on this machine.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.path().join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Changes the files to be installed, as a new version does.
    pub(crate) fn make_new_version(&self) {
        let program = self.at(SOURCE).join("m8refsvr-agent");
        // Bytes after the last section of an ELF file have no effect.
        fs::write(&program, [fs::read(&program).unwrap(), b"later".to_vec()].concat()).unwrap();
        for file in TEXT_FILES {
            let path = format!("{SOURCE}/{file}");
            self.write(&path, &(self.read(&path) + "# later\n"));
        }
    }

    /// Runs the installation script.
    pub(crate) fn install(&self, arguments: &[&str]) -> Output {
        self.run(&format!("{SOURCE}/install-m8refsvr-agent.sh"), arguments)
    }

    /// Runs the script, which must succeed; returns its standard output.
    pub(crate) fn installs(&self, arguments: &[&str]) -> String {
        let output = self.install(arguments);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{printed}");
        printed
    }

    /// Runs the script, which must fail; returns its standard error.
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let output = self.install(arguments);
        assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Runs a program of this machine as its user.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let user = if self.is_root { 0 } else { USER };
        let home = if self.is_root { "/root".into() } else { self.home() };
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER]).arg(self.root.path());
        command.arg(format!("--userspec={user}:{user}")).arg(self.root.path());
        command.arg(program).args(arguments);
        command.env_clear().env("PATH", "/stubs:/usr/bin:/usr/sbin:/bin:/sbin").env("HOME", home);
        command.current_dir("/").output().unwrap()
    }

    /// Runs a shell command as this machine's user.
    pub(crate) fn sh(&self, line: &str) -> Output {
        self.run("/bin/sh", &["-c", line])
    }

    /// The verbs with which systemctl was called since the last time.
    pub(crate) fn systemctl_calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.at("run/calls")).unwrap_or_default();
        let _ = fs::remove_file(self.at("run/calls"));
        calls.lines().map(str::to_owned).collect()
    }

    pub(crate) fn is_active(&self) -> bool {
        self.at("run/active").exists()
    }

    /// Whether systemd shows the service as failed.
    pub(crate) fn is_failed(&self) -> bool {
        self.at("run/failed").exists()
    }

    /// All files in folders into which the script installs or where it could leave temporary files.
    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        for folder in ["etc", "home", "local", "opt", "tmp", "var"] {
            self.collect(Path::new(folder), &mut files);
        }
        files
    }

    fn collect(&self, path: &Path, files: &mut Files) {
        let full = self.at(path);
        let metadata = fs::symlink_metadata(&full).unwrap();
        let content = if metadata.is_symlink() {
            fs::read_link(&full).unwrap().display().to_string()
        } else if metadata.is_dir() {
            fs::read_dir(&full)
                .unwrap()
                .for_each(|entry| self.collect(&path.join(entry.unwrap().file_name()), files));
            String::new()
        } else {
            String::from_utf8_lossy(&fs::read(&full).unwrap()).into_owned()
        };
        files.insert(path.to_owned(), (metadata.uid(), metadata.mode(), content));
    }

    /// Waits until agents run on this machine; returns them.
    pub(crate) fn started(&self) -> Vec<Pid> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let agents = self.agents();
            if !agents.is_empty() {
                return agents;
            }
            assert!(Instant::now() < deadline, "no agent was started");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The agents that run on this machine.
    pub(crate) fn agents(&self) -> Vec<Pid> {
        let here =
            |process: &Path| fs::read_link(process.join("root")).is_ok_and(|root| root == self.root.path());
        let is_agent = |process: &Path| {
            fs::read(process.join("comm")).is_ok_and(|comm| comm.trim_ascii() == b"m8refsvr-agent")
        };
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok).map(|entry| entry.path());
        processes
            .filter(|process| here(process) && is_agent(process))
            .filter_map(|process| Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?))
            .collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for agent in self.agents() {
            let _ = kill_process(agent, Signal::KILL);
        }
    }
}
