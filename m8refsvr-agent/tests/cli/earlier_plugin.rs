//! The command line and the variables of the earlier plugin.

use std::{
    fs::{self},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{NOBODY, agent, run};

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
    let printed = || fs::read_to_string(&log).unwrap_or_default();
    // What is logged at `debug` alone, after the settings in force were logged.
    let end = Instant::now() + Duration::from_secs(60);
    while !printed().contains(" DEBUG 0 processes in ") && Instant::now() < end {
        assert_eq!(running.try_wait().unwrap(), None, "{}", printed());
        std::thread::sleep(Duration::from_millis(10));
    }
    running.kill().unwrap();
    running.wait().unwrap();
    let printed = printed();
    for right in [
        "every 30 s processes".to_owned(),
        "exporting to https://127.0.0.1:1/ by grpc".to_owned(),
        format!("TLS: authorities {ca}, client certificate {certificate}, key {key}"),
        " DEBUG 0 processes in ".to_owned(),
    ] {
        assert!(printed.contains(&right), "{right} is not in the log: {printed}");
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
        let (code, _, printed) = run(&["--once", gone]);
        assert_eq!(code, Some(2), "{gone}: {printed}");
    }
}
