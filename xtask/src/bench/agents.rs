//! `cargo xtask bench agents`: CPU time and memory of the agent, compared with other agents that collect about the same
//! of the same processes.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    agent,
    load::{self, Kind, LARGE, Load, NAME, SMALL},
    peers,
    process::Measured,
    receiver::Receiver,
    table::Table,
};
use crate::{build, report};

const ROUNDS: usize = 3;
/// Measured scrapes, after some to warm up.
const SCRAPES: u32 = 5;
const WARM_UP: u32 = 3;
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an agent may take until it listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agent {
    Ours,
    ProcessExporter,
    Netdata,
    Collectd,
}

impl Agent {
    const ALL: [Self; 4] = [Self::Ours, Self::ProcessExporter, Self::Netdata, Self::Collectd];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "m8refsvr-agent",
            Self::ProcessExporter => "process-exporter",
            Self::Netdata => "netdata's apps.plugin",
            Self::Collectd => "collectd's processes",
        }
    }

    fn measure(self, ours: &Path) -> Result<Cost> {
        match self {
            Self::Ours => {
                let receiver = Receiver::start()?;
                let command = agent::exporting(ours, &receiver.endpoint(), &["--interval", "1"]);
                let running = Measured::start(&command, "agent.log")?;
                receiver.next()?;
                Cost::at_intervals(&running)
            }
            Self::ProcessExporter => process_exporter(),
            Self::Netdata => netdata(),
            Self::Collectd => collectd(),
        }
        .with_context(|| format!("{} could not be measured", self.name()))
    }
}

#[derive(Clone, Copy, Debug)]
struct Cost {
    /// CPU time of one scrape, in milliseconds.
    scrape: f64,
    /// Resident memory, in MiB.
    resident: f64,
}

impl Cost {
    fn of(running: &Measured, mut scrape: impl FnMut() -> Result<()>) -> Result<Self> {
        (0..WARM_UP).try_for_each(|_| scrape())?;
        let before = running.cpu()?;
        (0..SCRAPES).try_for_each(|_| scrape())?;
        let time = (running.cpu()? - before) / SCRAPES;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 bytes")]
        let resident = running.memory()?.resident as f64 / f64::from(1 << 20);
        Ok(Self { scrape: 1e3 * time.as_secs_f64(), resident })
    }

    /// The cost of an agent that scrapes at intervals by itself.
    fn at_intervals(running: &Measured) -> Result<Self> {
        Self::of(running, || {
            thread::sleep(INTERVAL);
            Ok(())
        })
    }
}

/// process-exporter scrapes on request, and answers in the text format of Prometheus.
fn process_exporter() -> Result<Cost> {
    let root = peers::package("prometheus-process-exporter")?;
    let config = configuration(
        "process-exporter.yml",
        &format!("process_names:\n  - name: \"{{{{.Comm}}}}\"\n    comm:\n    - {NAME}\n"),
    )?;
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
    let address = listener.local_addr().context("cannot find the port")?;
    drop(listener);
    let mut command = peers::program(&root, "usr/bin/prometheus-process-exporter");
    command.arg("-config.path").arg(config).arg("-web.listen-address").arg(address.to_string());
    let running = Measured::start(&command, "process-exporter.log")?;
    let end = Instant::now() + LISTEN_TIMEOUT;
    while TcpStream::connect(address).is_err() {
        ensure!(Instant::now() < end, "it does not listen; see process-exporter.log");
        thread::sleep(Duration::from_millis(10));
    }
    Cost::of(&running, || {
        let mut stream = TcpStream::connect(address).context("cannot connect")?;
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").context("cannot send a request")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("it did not answer")?;
        let is_there = answer.windows(NAME.len()).any(|part| part == NAME.as_bytes());
        ensure!(is_there, "its answer does not have the processes");
        Ok(())
    })
}

/// The plugin of netdata for processes; it prints what netdata reads.
fn netdata() -> Result<Cost> {
    let root = peers::package("netdata-core")?;
    configuration("apps_groups.conf", &format!("bench: {NAME}\n"))?;
    let mut command = peers::program(&root, "usr/lib/netdata/plugins.d/apps.plugin");
    command
        .arg(INTERVAL.as_secs().to_string())
        .env("NETDATA_USER_CONFIG_DIR", load::folder())
        .env("NETDATA_STOCK_CONFIG_DIR", root.join("usr/lib/netdata/conf.d"));
    let mut running = Measured::start(&command, "netdata.log")?;
    let cost = Cost::at_intervals(&running)?;
    ensure!(running.runs(), "it exited; see netdata.log");
    Ok(cost)
}

/// collectd with only its plugin for processes, set to collect descriptors and context switches.
fn collectd() -> Result<Cost> {
    let root = peers::package("collectd-core")?;
    let (folder, root_shown) = (load::folder(), root.display());
    let config = configuration(
        "collectd.conf",
        &format!(
            "BaseDir \"{folder}\"\nPIDFile \"{folder}/collectd.pid\"\nPluginDir \"{root_shown}/usr/lib/collectd\"\n\
             TypesDB \"{root_shown}/usr/share/collectd/types.db\"\nInterval {}\nLoadPlugin processes\n\
             <Plugin processes>\n  CollectFileDescriptor true\n  CollectContextSwitch true\n  \
             Process \"{NAME}\"\n</Plugin>\n",
            INTERVAL.as_secs(),
            folder = folder.display(),
        ),
    )?;
    let mut command = peers::program(&root, "usr/sbin/collectd");
    command.arg("-f").arg("-C").arg(config);
    let mut running = Measured::start(&command, "collectd.log")?;
    let cost = Cost::at_intervals(&running)?;
    ensure!(running.runs(), "it exited; see collectd.log");
    Ok(cost)
}

/// Writes a configuration file.
fn configuration(name: &str, text: &str) -> Result<PathBuf> {
    let path = load::folder().join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

pub(super) fn agents() -> Result<Table> {
    let ours = build::agent()?;
    let kinds = [SMALL, LARGE];
    let mut costs = Vec::new();
    let mut table = Table::default();
    let mut agents = Agent::ALL.to_vec();
    for round in 0..ROUNDS {
        report::step(&format!("measuring, round {} of {ROUNDS}", round + 1));
        for kind in kinds {
            let _load = Load::start(1000, 1470, kind)?;
            let mut failed = Vec::new();
            for place in 0..agents.len() {
                let agent = agents[(place + round) % agents.len()];
                match agent.measure(&ours) {
                    Ok(cost) => costs.push((agent, kind, cost)),
                    Err(error) if agent == Agent::Ours => return Err(error),
                    Err(error) => {
                        table.note(format!("{error:#}"));
                        failed.push(agent);
                    }
                }
            }
            agents.retain(|agent| !failed.contains(agent));
        }
    }
    let all = |agent: Agent, kind: Kind, part: fn(&Cost) -> f64| -> Vec<f64> {
        let of = costs.iter().filter(|cost| cost.0 == agent && cost.1 == kind);
        of.map(|(_, _, cost)| part(cost)).collect()
    };
    for kind in kinds {
        for &agent in &agents {
            table.row(format!("{}, {kind}", agent.name()), "ms CPU", &all(agent, kind, |cost| cost.scrape));
            table.row("  resident", "MiB", &all(agent, kind, |cost| cost.resident));
        }
        for &peer in agents.iter().filter(|&&agent| agent != Agent::Ours) {
            let [ours, other] = [Agent::Ours, peer].map(|agent| all(agent, kind, |cost| cost.scrape));
            table.ratio(format!("ours / {}, {kind}", peer.name()), &ours, &other);
        }
    }
    Ok(table)
}
