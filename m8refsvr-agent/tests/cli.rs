//! The program as a user types it: exit codes and what is said where. Needs no rights.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs::{self, File},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// A name that no process has.
const NOBODY: &str = "no-process-is-called-like-this";

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m8refsvr-agent"));
    // No variable of the machine shall have a say.
    command.args(arguments).env_clear();
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = agent(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn no_match_is_exit_code_1_with_a_document_of_zeros() {
    let (code, out, said) =
        run(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process", NOBODY]);
    assert_eq!(code, Some(1));
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["metrics"]["process_count"], 0);
    assert_eq!(document["agent"]["sources"]["context_switches"], "procfs");
    assert_eq!(said, format!("m8refsvr-agent: No processes found matching '{NOBODY}'\n"));
}

#[test]
fn the_default_name_is_named_when_nothing_matches() {
    // Where such a process runs, there is nothing to see.
    let (code, out, said) = run(&["--run-once", "--no-export", "--ebpf", "off", "--sample", "0.01"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["process"], serde_json::json!(["M8RefSvr"]));
    if document["metrics"]["process_count"] == 0 {
        assert_eq!(code, Some(1));
        assert_eq!(said, "m8refsvr-agent: No processes found matching 'M8RefSvr'\n");
    }
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_would_be_right() {
    let cases: [(&[&str], &str); 22] = [
        (&["--interval", "0.01"], "give between 0.1 and 86400 seconds"),
        (&["--interval", "1m"], "give a number of seconds"),
        (&["--max-series-processes", "0"], "0 is not in 1.."),
        (&["--protocol", "http/json"], "grpc, http/protobuf"),
        (&["--endpoint", "ftp://a"], "neither http nor https"),
        (&["--agent-port", "0"], "0 is not in 1..=65535"),
        (&["--tls=maybe"], "give one of true, 1, yes, on, t, y"),
        (&["--tls", "--ca-cert", "/no/such/file"], "/no/such/file: No such file"),
        (&["--tls", "--client-cert", "/no/such/file"], "is given without --client-key"),
        (&["--log-file", "/no/such/folder/log"], "give another --log-file"),
        (&["--once", "--sample", "0"], "give between 0.01 and 86400 seconds"),
        (&["--once", "--sample", "nan"], "give between 0.01 and 86400 seconds"),
        (&["--once", "--sample", "1s"], "give a number of seconds"),
        (&["--once", "--process", ""], "give a part of the name"),
        (&["--once", "--process", " "], "give a part of the name"),
        (&["--once", "--process", "/opt/M8RefSvr"], "give \"M8RefSvr\""),
        (&["--once", "--process-regex", "("], "unclosed group"),
        (&["--once", "--max-tracked-processes", "0"], "from 1 to 65535"),
        (&["--once", "--ebpf", "maybe"], "auto, require, off"),
        (&["--once", "--log-level", "loud"], "trace, debug, info, warning, error, critical"),
        (&["--no-export"], "--once"),
        (&["debug", "dump", "--ebpf", "off", "--bpf-fs", "/nowhere"], "--ebpf off loads no programs"),
    ];
    for (arguments, right) in cases {
        let (code, out, said) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert_eq!(out, "", "{arguments:?}");
        assert!(said.contains(right), "{arguments:?}: {said}");
    }
}

#[test]
fn a_folder_that_is_no_proc_is_wrong_usage() {
    for folder in ["/nowhere", "/"] {
        let (code, out, said) = run(&["--once", "--no-export", "--proc-root", folder]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{said}");
        assert!(said.contains(&format!("{folder} is not a /proc: mount the host's there")), "{said}");
    }
}

#[test]
fn a_name_that_is_no_text_is_wrong_usage() {
    use std::os::unix::ffi::OsStrExt as _;
    let output = agent(&["--once", "--process"]).arg(std::ffi::OsStr::from_bytes(b"\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"));
}

#[test]
fn the_variable_names_processes_and_the_flag_wins() {
    let process = |command: &mut Command| {
        let output = command.env("PROCESS_NAME", "no-process-a, no-process-b").output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["process"].clone()
    };
    let flags = ["--once", "--no-export", "--ebpf", "off", "--sample", "0.01"];
    assert_eq!(process(&mut agent(&flags)), serde_json::json!(["no-process-a", "no-process-b"]));
    assert_eq!(process(agent(&flags).args(["--process", NOBODY])), serde_json::json!([NOBODY]));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command =
        agent(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command =
        agent(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    let output = command.stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
}

#[test]
fn kernel_threads_zombies_and_the_agent_never_match() {
    let (code, out, _) =
        run(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."]);
    assert_eq!(code, Some(0));
    let document: Value = serde_json::from_str(&out).unwrap();
    for process in document["processes"].as_array().unwrap() {
        let name = process["name"].as_str().unwrap();
        assert!(!name.starts_with("kworker") && name != "kthreadd" && name != "m8refsvr-agent", "{name}");
    }
}

#[test]
fn a_sample_is_as_long_as_asked() {
    let (_, out, _) =
        run(&["--once", "--no-export", "--ebpf", "off", "--sample", "0.2", "--process", NOBODY]);
    let document: Value = serde_json::from_str(&out).unwrap();
    // Never shorter; how much longer depends on the machine.
    assert!(document["sample_seconds"].as_f64().unwrap() >= 0.2, "{document}");
}

#[test]
fn variables_are_checked_as_flags_are_and_an_empty_one_is_not_set() {
    let said = |name: &str, value: &str| {
        let flags = ["--once", "--ebpf", "off", "--sample", "0.01", "--agent-port", "1", "--process", NOBODY];
        let output = agent(&flags).env(name, value).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (name, value, right) in [
        ("USE_TLS", "perhaps", "USE_TLS=perhaps: give one of true"),
        ("COLLECTION_INTERVAL", "10s", "COLLECTION_INTERVAL=10s: give a number of seconds"),
        ("COLLECTION_INTERVAL", "0.01", "COLLECTION_INTERVAL=0.01: give between 0.1 and 86400 seconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "10s", "OTEL_METRIC_EXPORT_INTERVAL: \"10s\" is no interval"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL=loud: give one of trace, debug"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "PROTOCOL=http/json: give one of grpc, http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "OTEL_EXPORTER_OTLP_HEADERS: give name=value"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "give milliseconds"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd", "give gzip or none"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "no", "OTEL_EXPORTER_OTLP_INSECURE: \"no\" is neither"),
        (
            "OTEL_METRICS_EXPORTER",
            "console",
            "OTEL_METRICS_EXPORTER: \"console\" is not possible: give otlp or none",
        ),
        (
            "OTEL_LOGS_EXPORTER",
            "console",
            "OTEL_LOGS_EXPORTER: \"console\" is not possible: give otlp or none",
        ),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", "give name=value"),
        ("HOST_PROC", "/", "HOST_PROC: / is not a /proc: mount the host's there, or leave out HOST_PROC"),
    ] {
        let (code, said) = said(name, value);
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(right), "{name}: {said}");
    }
    for name in
        ["USE_TLS", "COLLECTION_INTERVAL", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT"]
    {
        // As far as the export, to which nobody listens.
        assert_eq!(said(name, "").0, Some(3), "{name}");
    }
}

/// The agent with a variable, as far as its end: exit code, standard output and standard error.
fn run_with(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = agent(arguments).envs(variables.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_setting_is_named_as_it_was_given() {
    let flags = ["--once", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."];
    for (arguments, variables, right) in [
        (
            &["--interval", "10s"][..],
            &[("COLLECTION_INTERVAL", "often")][..],
            "'10s' for '--interval <SECONDS>'",
        ),
        // A URL may hold a password.
        (&[], &[("INSTANA_AGENT_PORT", "http://user:secret@a")], "INSTANA_AGENT_PORT=***: "),
        (&[], &[("PROCESS_NAME", "a,,b")], "PROCESS_NAME: a process name is empty"),
        (
            &["--tls"],
            &[("CA_CERT_PATH", "/no/such")],
            "CA_CERT_PATH: cannot read the certificate of an authority",
        ),
        (&["--tls", "--ca-cert", "/no/such"], &[], "--ca-cert: cannot read the certificate of an authority"),
        (
            &["--tls"],
            &[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/a"), ("CLIENT_KEY_PATH", "/b")],
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: cannot read the client certificate /a",
        ),
        (
            &["--endpoint", "https://a:1"],
            &[("https_proxy", "socks5://user:secret@b")],
            "https_proxy=socks5://***@b: ",
        ),
    ] {
        let (code, _, said) = run_with(&[&flags[..], arguments].concat(), variables);
        assert_eq!(code, Some(2), "{arguments:?} {variables:?}: {said}");
        assert!(said.contains(right) && !said.contains("secret"), "{arguments:?} {variables:?}: {said}");
    }
}

#[test]
fn where_nothing_is_exported_it_is_said_and_nothing_is_tried() {
    let place = ["--agent-host", "127.0.0.1", "--agent-port", "1", "--ebpf", "off"];
    for (name, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")] {
        let off_by = format!("nothing is exported: {name}={value}");
        let flags = ["--once", "--sample", "0.01", "--process-regex", "."];
        let (code, out, said) = run_with(&[&flags[..], &place].concat(), &[(name, value)]);
        assert_eq!(code, Some(0), "{said}");
        assert!(serde_json::from_str::<Value>(&out).is_ok());
        assert_eq!(said, format!("m8refsvr-agent: {off_by}\n"));

        let (code, out, _) = run_with(&[&["check", "--json"][..], &place].concat(), &[(name, value)]);
        assert_eq!(code, Some(0), "{out}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        let last = answer["checks"].as_array().unwrap().last().unwrap();
        assert_eq!((&last["check"], &last["mark"]), (&"receiver".into(), &"warning".into()));
        assert_eq!(last["found"], format!("not tried, as {off_by}"));

        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut running = agent(&place);
        running.args(["--interval", "0.1", "--log-level", "debug", "--log-file"]).arg(&log).env(name, value);
        let mut running = running.spawn().unwrap();
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(60);
        while !said().contains(&off_by) && Instant::now() < end {
            assert_eq!(running.try_wait().unwrap(), None, "{}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = rustix::process::Pid::from_child(&running);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(0), "{}", said());
        assert!(!said().contains(" processes in ") && said().contains("ended"), "{}", said());
    }
}

#[test]
fn the_proxy_is_named_with_its_variable_and_without_its_credentials() {
    let arguments = ["check", "--ebpf", "off", "--endpoint", "https://receiver.invalid:1"];
    let proxy = ("HTTPS_PROXY", "http://user:secret@127.0.0.1:1");
    let (_, out, _) = run_with(&arguments, &[proxy]);
    let settings = out.lines().next().unwrap();
    let through =
        "to https://receiver.invalid:1/ by grpc through the proxy http://***@127.0.0.1:1 (HTTPS_PROXY); by";
    assert!(settings.contains(through) && !out.contains("secret"), "{out}");
    let (_, out, _) = run_with(&[&arguments[..], &["--json"]].concat(), &[proxy]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["settings"]["proxy"], "http://***@127.0.0.1:1 (HTTPS_PROXY)");
    let (_, out, _) = run_with(&arguments, &[proxy, ("NO_PROXY", ".invalid")]);
    assert!(!out.contains("through the proxy"), "{out}");
}

#[test]
fn a_failed_export_is_exit_code_3_and_the_document_is_printed_all_the_same() {
    let flags = ["--once", "--ebpf", "off", "--sample", "0.01", "--process-regex", "."];
    for protocol in ["grpc", "http/protobuf"] {
        let more = ["--protocol", protocol, "--agent-host", "127.0.0.1", "--agent-port", "1"];
        let (code, out, said) = run(&[&flags[..], &more[..]].concat());
        assert_eq!(code, Some(3), "{said}");
        assert!(
            serde_json::from_str::<Value>(&out).unwrap()["metrics"]["process_count"].as_u64().unwrap() > 0
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("127.0.0.1:1/") && said.contains("connection refused"), "{said}");
    }
}

/// What the earlier plugin's users have in their units and crontabs; `docs/migrating.md` promises that it works.
#[test]
fn the_earlier_plugins_command_line_and_variables_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [ca, certificate, key, log] = ["ca.crt", "client.crt", "client.key", "m8refsvr.log"].map(path);
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for path in [&ca, &certificate] {
        fs::write(path, own.cert.pem()).unwrap();
    }
    fs::write(&key, own.signing_key.serialize_pem()).unwrap();

    let log_file = format!("--log-file={log}");
    let mut running = agent(&[log_file.as_str(), "--ebpf", "off", "--process", NOBODY]);
    running.envs([
        ("COLLECTION_INTERVAL", "30"),
        ("INSTANA_AGENT_HOST", "127.0.0.1"),
        // To which nobody listens.
        ("INSTANA_AGENT_PORT", "1"),
        ("USE_TLS", "true"),
        ("CA_CERT_PATH", ca.as_str()),
        ("CLIENT_CERT_PATH", certificate.as_str()),
        ("CLIENT_KEY_PATH", key.as_str()),
        ("LOG_LEVEL", "DEBUG"),
    ]);
    let mut running = running.stderr(Stdio::null()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    // What is logged at `debug` alone, after all that is in force was said.
    let end = Instant::now() + Duration::from_secs(60);
    while !said().contains(" DEBUG 0 processes in ") && Instant::now() < end {
        assert_eq!(running.try_wait().unwrap(), None, "{}", said());
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let said = said();
    for right in [
        "every 30 s processes".to_owned(),
        "exporting to https://127.0.0.1:1/ by grpc".to_owned(),
        format!("TLS: authorities {ca}, client certificate {certificate}, key {key}"),
        " DEBUG 0 processes in ".to_owned(),
    ] {
        assert!(said.contains(&right), "{right} is not in the log: {said}");
    }

    // A flag wins over its variable.
    for once in ["--once", "--run-once"] {
        let log_file = format!("--log-file={}", path(once));
        let flags = [once, "--log-level=DEBUG", &log_file, "--sample", "0.01", "--ebpf", "off"];
        let place = ["--agent-host=127.0.0.1", "--agent-port=1", "--process", NOBODY];
        let output = agent(&flags).args(place).env("LOG_LEVEL", "CRITICAL").output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["name"], "m8refsvr");
        assert!(fs::read_to_string(path(once)).unwrap().contains(" DEBUG "), "{once}");
    }

    for gone in ["--otel-port=4317", "--install-location=/usr/local/bin", "--metadata-db-path=/tmp/a"] {
        let (code, _, said) = run(&["--once", gone]);
        assert_eq!(code, Some(2), "{gone}: {said}");
    }
}

/// A flag as a user reads of it.
#[derive(Debug, PartialEq, Eq)]
struct Flag {
    /// With what stands in for its value.
    usage: String,
    variables: Vec<String>,
    default: String,
    values: Vec<String>,
}

#[test]
fn readme_and_help_say_the_same_of_every_flag() {
    let mut of_readme = flags_of_readme();
    let mut of_help = flags_of_help(&run(&["--help"]).1, "");
    let global: Vec<String> = of_help.iter().map(|flag| flag.usage.clone()).collect();
    for command in ["check ", "debug dump "] {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let is_own = |flag: &Flag| !global.contains(&flag.usage.replace(command, ""));
        of_help.extend(flags_of_help(&run(&words).1, command).into_iter().filter(is_own));
    }
    of_readme.sort_by(|one, other| one.usage.cmp(&other.usage));
    of_help.sort_by(|one, other| one.usage.cmp(&other.usage));
    assert!(of_help.len() > 20, "{of_help:?}");
    for (readme, help) in of_readme.iter().zip(&of_help) {
        assert_eq!(readme, help, "README on the left, --help on the right");
    }
    assert_eq!(of_readme.len(), of_help.len());
}

#[test]
fn the_service_s_settings_have_every_variable_of_the_readme() {
    let settings = include_str!("../../packaging/agent.env");
    let examples = settings.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let is_name =
        |name: &str| name.chars().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_');
    let mut examples: Vec<&str> = examples.map(|(name, _)| name).filter(|name| is_name(name)).collect();
    let rows: Vec<String> = rows_of_readme().collect();
    let cells = rows.iter().flat_map(|row| row.split('|').nth(2).unwrap().split(", "));
    let cells = cells.map(|name| name.trim().trim_matches('`'));
    let mut variables: Vec<&str> = cells.filter(|name| !name.is_empty()).collect();
    // For flags without a variable, which the unit passes on.
    variables.push("M8REFSVR_ARGS");
    examples.sort_unstable();
    variables.sort_unstable();
    assert!(variables.len() > 20, "{variables:?}");
    assert_eq!(examples, variables);
}

#[test]
fn the_readme_s_check_has_the_settings_and_flags_of_the_service() {
    let readme = include_str!("../../README.md");
    let line = readme.lines().find_map(|line| line.strip_prefix("sudo sh -c '")?.strip_suffix('\''));
    let folder = tempfile::tempdir().unwrap();
    let [settings, log] = ["agent.env", "log"].map(|name| folder.path().join(name));
    let flags = format!("--ebpf off --process-regex ^no[s*]uch$ --log-file {}", log.display());
    fs::write(&settings, format!("PROCESS_NAME='no such;name'\nM8REFSVR_ARGS='{flags}'\n")).unwrap();
    let line = line
        .unwrap()
        .replace("/etc/m8refsvr/agent.env", settings.to_str().unwrap())
        .replace("exec m8refsvr-agent", concat!("exec ", env!("CARGO_BIN_EXE_m8refsvr-agent")));
    let output = Command::new("sh").args(["-c", &line]).env_clear().output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("processes matching 'no such;name', '^no[s*]uch$', every 60 s"), "{line}: {said}");
    // Made by root it would be closed to the service.
    assert!(!log.exists());
}

/// The rows of README's table of settings, in which only the cells' borders are still `|`.
fn rows_of_readme() -> impl Iterator<Item = String> {
    let readme = include_str!("../../README.md");
    let table = readme.split("| flag | variables | default | meaning |").nth(1).unwrap();
    table.lines().skip(2).take_while(|line| line.starts_with('|')).map(|line| line.replace("\\|", "\u{1}"))
}

fn flags_of_readme() -> Vec<Flag> {
    let mut flags: Vec<Flag> = Vec::new();
    for row in rows_of_readme() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if cells[1].is_empty() {
            continue;
        }
        let usage = cells[1].trim_matches('`').replace('\u{1}', "|");
        let choice = usage.rsplit(' ').next().unwrap().split('|').map(str::to_owned).collect::<Vec<_>>();
        flags.push(Flag {
            values: if choice.len() > 1 { choice } else { Vec::new() },
            usage: usage
                .split_once(' ')
                .filter(|_| usage.contains('|'))
                .map_or(usage.clone(), |it| it.0.into()),
            variables: cells[2]
                .split(", ")
                .filter(|it| !it.is_empty())
                .map(|it| it.trim_matches('`').into())
                .collect(),
            default: cells[3].into(),
        });
    }
    flags
}

fn flags_of_help(help: &str, command: &str) -> Vec<Flag> {
    let mut entries: Vec<Vec<&str>> = Vec::new();
    for line in help.lines() {
        if line.trim_start().starts_with("--") && line.starts_with("      --") {
            entries.push(vec![line.trim()]);
        } else if !line.starts_with("   ") && !line.is_empty() {
            entries.push(Vec::new());
        } else if let Some(entry) = entries.last_mut().filter(|entry| !entry.is_empty()) {
            entry.push(line.trim());
        }
    }
    let bracketed = |text: &str, name: &str| {
        let found = text.split(&format!("[{name}: ")).nth(1).and_then(|rest| rest.split(']').next());
        found.unwrap_or_default().to_owned()
    };
    let entries = entries.into_iter().filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let text = entry.join(" ");
            let values: Vec<String> = entry
                .iter()
                .filter_map(|line| line.strip_prefix("- ")?.split(':').next().map(str::to_owned))
                .collect();
            let usage = entry[0].replace(" <", " ").replace("[=<", "[=").replace(">]", "]").replace('>', "");
            let usage = if values.is_empty() { usage } else { usage.split(' ').next().unwrap().into() };
            let variables = bracketed(&text, "env");
            Flag {
                usage: format!("{command}{usage}"),
                variables: variables.split(", ").filter(|it| !it.is_empty()).map(str::to_owned).collect(),
                default: bracketed(&text, "default"),
                values,
            }
        })
        .collect()
}
