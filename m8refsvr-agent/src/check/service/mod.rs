//! The settings of the installed service: what `systemctl show` has of its unit, and the settings files that it names.

mod environment_file;
mod words;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use thiserror::Error;

use super::{
    finding::Finding,
    host::{NEEDED, OF_BPF},
};

pub const UNIT: &str = "m8refsvr-agent.service";

const PROPERTIES: &str =
    "LoadState,FragmentPath,Environment,EnvironmentFiles,ExecStart,User,AmbientCapabilities,BindPaths";

/// Why the settings of the service are not known.
#[derive(Debug, Error)]
pub enum ServiceError {
    #[error(
        "systemctl can't be run: {0}; `check` without --service tries the flags and variables that you give"
    )]
    NoSystemctl(io::Error),
    #[error("systemctl failed: {0}; `check` without --service tries the flags and variables that you give")]
    Failed(String),
    #[error(
        "{UNIT} is not installed, neither for the system nor for this user; `check` without --service tries the flags and \
         variables that you give"
    )]
    NoUnit,
    #[error(
        "{UNIT} is {state}, so that it has no settings; `systemctl status {UNIT}` shows why. `check` without --service \
         tries the flags and variables that you give"
    )]
    NotLoaded { state: String },
    #[error(
        "{UNIT} has a pattern in EnvironmentFile, which `check` can't read: {0}; name each file in a line of its own"
    )]
    Pattern(String),
    #[error("{UNIT} has no ExecStart that can be read: {0:?}")]
    NoCommand(String),
    #[error("cannot read the settings of {UNIT} in {}: {source}; run as root", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

/// The service, as its unit and settings files have it.
#[derive(Debug)]
pub struct Service {
    /// Its command line.
    pub arguments: Vec<OsString>,
    variables: BTreeMap<String, String>,
    unit: String,
    user: String,
    capabilities: Vec<String>,
}

impl Service {
    /// The system's, or else that of this user.
    pub fn installed() -> Result<Self, ServiceError> {
        let (mut failed, mut not_loaded) = (None, None);
        for of_whom in [&[][..], &["--user"]] {
            let shown = Command::new("systemctl")
                .args(of_whom)
                .args(["show", "--property", PROPERTIES, UNIT])
                .env("LC_ALL", "C")
                .output()
                .map_err(ServiceError::NoSystemctl)?;
            let text = String::from_utf8_lossy(&shown.stdout);
            match values(&text, "LoadState").next() {
                Some("loaded") => return Self::new(&text, |path| fs::read_to_string(path)),
                Some("not-found") | None => {}
                Some(state) => not_loaded = Some(ServiceError::NotLoaded { state: state.to_owned() }),
            }
            // A user without a service manager of its own is no reason.
            if !shown.status.success() && of_whom.is_empty() {
                let error = String::from_utf8_lossy(&shown.stderr);
                failed = Some(error.lines().next().unwrap_or_default().to_owned());
            }
        }
        Err(not_loaded.unwrap_or_else(|| failed.map_or(ServiceError::NoUnit, ServiceError::Failed)))
    }

    /// From what `systemctl show` printed.
    fn new(shown: &str, read: impl Fn(&Path) -> io::Result<String>) -> Result<Self, ServiceError> {
        let of = |name: &'static str| values(shown, name);
        let one = |name| of(name).next().unwrap_or_default();
        let mut variables = BTreeMap::new();
        for setting in of("Environment").flat_map(words::split) {
            variables
                .extend(setting.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        for file in of("EnvironmentFiles") {
            let (path, how) = file.rsplit_once(" (").unwrap_or((file, ""));
            if path.contains(['*', '?', '[']) {
                return Err(ServiceError::Pattern(path.to_owned()));
            }
            match read(Path::new(path)) {
                Ok(text) => variables.extend(environment_file::parse(&text)),
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && how.contains("ignore_errors=yes") => {}
                Err(source) => return Err(ServiceError::Unreadable { path: path.into(), source }),
            }
        }
        let start = one("ExecStart");
        let command = start.split_once("argv[]=").and_then(|(_, rest)| rest.split(" ; ").next());
        let command = command.ok_or_else(|| ServiceError::NoCommand(start.to_owned()))?;
        let mounts: Vec<(&str, &str)> =
            of("BindPaths").flat_map(str::split_whitespace).filter_map(bind).collect();
        // What is mounted for the service alone is elsewhere for others.
        let outside = |argument: String| match mounts.iter().find(|(_, inside)| *inside == argument) {
            Some((outside, _)) => OsString::from(outside),
            None => OsString::from(argument),
        };
        // systemd shows the words without the quotes of the unit.
        let arguments = command.split(' ').flat_map(|word| expanded(word, &variables));
        Ok(Self {
            arguments: arguments.map(outside).collect(),
            unit: one("FragmentPath").to_owned(),
            user: one("User").to_owned(),
            capabilities: of("AmbientCapabilities")
                .flat_map(str::split_whitespace)
                .map(str::to_owned)
                .collect(),
            variables,
        })
    }

    /// A variable of its environment.
    pub fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).map(OsString::from)
    }

    /// Where it is, and with which rights it runs: this process may have others.
    pub fn finding(&self) -> Finding {
        const CHECK: &str = "service";
        let unit = &self.unit;
        if self.user.is_empty() || self.user == "root" {
            return Finding::ok(CHECK, format!("{unit}, runs as its service manager's user"));
        }
        let held = self.capabilities.join(", ");
        let found = format!(
            "{unit}, runs as {} with {}",
            self.user,
            if held.is_empty() { "no capability" } else { &held }
        );
        // systemd writes them in small letters.
        let has = |name: &str| self.capabilities.iter().any(|held| held.eq_ignore_ascii_case(name));
        let is_held = |name: &str| has(name) || (OF_BPF.contains(&name) && has("CAP_SYS_ADMIN"));
        let missing: Vec<&str> = NEEDED.iter().map(|(_, name)| *name).filter(|name| !is_held(name)).collect();
        if missing.is_empty() {
            return Finding::ok(CHECK, found);
        }
        let advice = format!(
            "{} missing in AmbientCapabilities: `systemctl edit {UNIT}` adds to them",
            missing.join(", ")
        );
        Finding::warning(CHECK, found, advice)
    }
}

/// The values of a property, in which those that are empty are not set.
fn values<'a>(shown: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    let value = move |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
    shown.lines().filter_map(value).filter(|value| !value.is_empty())
}

/// Where a mount comes from, and where it is for the service.
fn bind(mount: &str) -> Option<(&str, &str)> {
    let (outside, rest) = mount.trim_start_matches('-').split_once(':')?;
    Some((outside, rest.split(':').next()?))
}

/// A word that is `$NAME` becomes as many words as there are in the variable. Within a word `${NAME}` is replaced, and
/// `$$` is a dollar sign (`systemd.service(5)`, "Command lines").
fn expanded(word: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let of = |name: &str| variables.get(name).map_or("", String::as_str);
    let is_name = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
        return words::split(of(name));
    }
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let name = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        rest = match name {
            Some((name, after)) => {
                text.push_str(of(name));
                after
            }
            None => {
                text.push('$');
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    text.push_str(rest);
    vec![text]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Mark;

    const SHOWN: &str = "\
ExecStart={ path=/usr/bin/m8refsvr-agent ; argv[]=/usr/bin/m8refsvr-agent --bpf-fs /run/m8refsvr-agent/bpf $M8REFSVR_ARGS ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Environment=LOG_LEVEL=debug \"PROCESS_NAME=from the unit\"
EnvironmentFiles=/etc/m8refsvr/agent.env (ignore_errors=yes)
EnvironmentFiles=/etc/none.env (ignore_errors=yes)
BindPaths=-/sys/fs/bpf:/run/m8refsvr-agent/bpf:rbind
AmbientCapabilities=cap_dac_read_search cap_sys_ptrace cap_perfmon cap_bpf
User=m8refsvr
LoadState=loaded
FragmentPath=/lib/systemd/system/m8refsvr-agent.service
";

    fn service(shown: &str) -> Result<Service, ServiceError> {
        Service::new(shown, |path| match path.to_str() {
            Some("/etc/m8refsvr/agent.env") => {
                Ok("PROCESS_NAME='a b'\nM8REFSVR_ARGS='--process-regex \"c d\" --per-process'\n".into())
            }
            Some("/etc/closed.env") => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    }

    #[test]
    fn flags_and_variables_are_those_with_which_systemd_starts_it() {
        let service = service(SHOWN).unwrap();
        let expected =
            ["/usr/bin/m8refsvr-agent", "--bpf-fs", "/sys/fs/bpf", "--process-regex", "c d", "--per-process"];
        assert_eq!(service.arguments, expected);
        assert_eq!(service.variable("LOG_LEVEL"), Some("debug".into()));
        // The file wins over the unit.
        assert_eq!(service.variable("PROCESS_NAME"), Some("a b".into()));
        assert_eq!(service.variable("HOME"), None);
        assert_eq!(service.finding().mark, Mark::Ok);
        assert!(service.finding().found.contains("runs as m8refsvr with cap_dac_read_search"));
    }

    #[test]
    fn variables_are_replaced_as_systemd_does() {
        let variables = BTreeMap::from([("A".into(), "b 'c d'".into()), ("B_1".into(), "x".into())]);
        for (word, expected) in [
            ("$A", &["b", "c d"][..]),
            ("$NONE", &[]),
            ("${A}", &["b 'c d'"]),
            ("${NONE}", &[""]),
            ("--endpoint=http://${B_1}:4318/${B_1}", &["--endpoint=http://x:4318/x"]),
            ("--process=$A", &["--process=$A"]),
            ("^a$$", &["^a$"]),
            ("$$A", &["$A"]),
            ("a'b", &["a'b"]),
            ("${A", &["${A"]),
            ("$", &["$"]),
        ] {
            assert_eq!(expanded(word, &variables), expected, "{word}");
        }
        let shown = SHOWN.replace("--bpf-fs /run/m8refsvr-agent/bpf", "--process-regex ^it's\\.x$");
        assert_eq!(service(&shown).unwrap().arguments[1..3], ["--process-regex", "^it's\\.x$"]);
    }

    #[test]
    fn capabilities_that_the_service_lacks_are_a_warning() {
        let of = |held: &str| service(&SHOWN.replace("cap_perfmon cap_bpf", held)).unwrap().finding();
        let finding = of("cap_perfmon");
        assert!(finding.mark == Mark::Warning && finding.advice.unwrap().starts_with("CAP_BPF missing"));
        assert_eq!(of("cap_sys_admin").mark, Mark::Ok);
    }

    #[test]
    fn what_can_t_be_read_is_an_error_that_says_what_helps() {
        let closed = SHOWN
            .replace("/etc/m8refsvr/agent.env (ignore_errors=yes)", "/etc/closed.env (ignore_errors=yes)");
        let error = service(&closed).unwrap_err().to_string();
        assert!(error.contains("/etc/closed.env: permission denied; run as root"), "{error}");
        let missing = SHOWN.replace("/etc/none.env (ignore_errors=yes)", "/etc/none.env (ignore_errors=no)");
        assert!(matches!(service(&missing), Err(ServiceError::Unreadable { .. })));
        let pattern = SHOWN.replace("/etc/none.env", "/etc/m8refsvr/*.env");
        let error = service(&pattern).unwrap_err().to_string();
        assert!(error.contains("/etc/m8refsvr/*.env; name each file in a line of its own"), "{error}");
        assert!(matches!(service("LoadState=loaded\n"), Err(ServiceError::NoCommand(_))));
    }
}
