//! What help has beside the flags: which of them a command does not list, variables, exit codes, examples.

use clap::Command;

use super::variables::names_of;

/// Flags of the service that `check` takes, so that it can be called with all of them, and that change nothing there.
const WITHOUT_EFFECT_ON_CHECK: [&str; 9] = [
    "interval",
    "sample",
    "names",
    "per_process",
    "max_series_processes",
    "process_attributes",
    "with_command_line",
    "instance",
    "log_file",
];

pub(super) const ABOUT: &str =
    "Monitors the processes of MicroStrategy's M8RefSvr, or any others, with eBPF and /proc";

pub(super) const LONG_ABOUT: &str = "\
Monitors the processes of MicroStrategy's M8RefSvr, or any others, with eBPF and /proc. Without a command it collects \
at each interval and exports by OTLP, until SIGTERM or SIGINT. With --once it prints one JSON document.";

pub(super) const SHORT_END: &str =
    "`--help` has all flags, the variables, exit codes and examples; `COMMAND --help` those of a command.";

pub(super) const LONG_END: &str = "\
Variables:
  A flag wins over its variables, the first variable that is set over the others. An empty variable is not set.
  These have no flag:
  OTEL_EXPORTER_OTLP_HEADERS       headers of each request, name=value,name=value
  OTEL_EXPORTER_OTLP_LOGS_HEADERS  headers of each request with log records
  OTEL_EXPORTER_OTLP_TIMEOUT       milliseconds for an export
  OTEL_EXPORTER_OTLP_COMPRESSION   gzip (the default) or none
  OTEL_EXPORTER_OTLP_INSECURE      false means TLS where the endpoint has no scheme
  OTEL_RESOURCE_ATTRIBUTES         attributes of the resource, name=value,name=value
  OTEL_SERVICE_NAME                its service.name
  OTEL_METRICS_EXPORTER            otlp (the default) or none
  OTEL_SDK_DISABLED                true exports nothing
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY; also in lower case, which wins
  OTEL_EXPORTER_OTLP_METRICS_HEADERS, ..._TIMEOUT, ..._COMPRESSION and ..._INSECURE win over those without METRICS_.

Exit codes:
  0  done
  1  no process matches
  2  wrong usage or setting
  3  the export failed
  4  counting in the kernel was required and could not start
  5  anything else, such as a full disk, or something that hangs at the end
  129, 130, 143  ended by SIGHUP, SIGINT or SIGTERM before the document was complete, or by a second signal

Examples:
  m8refsvr-agent                                     M8RefSvr, each minute, to an Instana agent on this host
  m8refsvr-agent --process nginx --endpoint https://collector:4317 --interval 10
  m8refsvr-agent --once --no-export                  one document about M8RefSvr
  m8refsvr-agent check --service                     does the installed service work?
  m8refsvr-agent debug dump                          the BPF maps of the running agent";

pub(super) const CHECK: &str = "Try what the agent needs, from the kernel to the receiver";

pub(super) const LONG_CHECK: &str = "\
Try what the agent needs: the kernel, capabilities, BPF programs, the processes, and the way to the receiver. Prints a \
verdict, a line of each with what to do about it, and the settings in force with where they came from. The flags of \
the service that change nothing here are taken too, and not listed.";

pub(super) const CHECK_END: &str = "\
Exit codes:
  0  ready; there may be warnings
  2, 3, 4, 5  that of the agent for the first failure: a setting, the export, the kernel, anything else

Examples:
  m8refsvr-agent check --process nginx --endpoint https://collector:4317
  sudo m8refsvr-agent check --service                with the settings of the installed service
  m8refsvr-agent check --json | jq .verdict";

pub(super) const DUMP: &str = "Show the content of the BPF maps, of the running agent or of own BPF programs";

pub(super) const LONG_DUMP: &str = "\
Show the content of the BPF maps of the running agent. Where none runs, load BPF programs for --sample seconds and show \
what they counted for the processes that match. --agent chooses one of several agents; --ebpf, --sample and the flags \
that select processes then have no effect.";

pub(super) const DUMP_END: &str = "\
Examples:
  sudo m8refsvr-agent debug dump
  sudo m8refsvr-agent debug dump --json --agent 4711
  sudo m8refsvr-agent debug dump --process nginx --sample 10";

/// Has the long help of each flag name its variables, and hides what a command only takes along.
pub(super) fn complete(command: Command) -> Command {
    let check = |check: Command| {
        with_variables(check).mut_args(|arg| {
            let is_hidden = WITHOUT_EFFECT_ON_CHECK.contains(&arg.get_id().as_str());
            arg.hide(is_hidden)
        })
    };
    with_variables(command)
        .mut_subcommand("check", check)
        .mut_subcommand("debug", |debug| debug.mut_subcommand("dump", with_variables))
}

fn with_variables(command: Command) -> Command {
    command.mut_args(|arg| {
        let names = names_of(arg.get_id().as_str());
        if names.is_empty() {
            return arg;
        }
        let help = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string);
        arg.long_help(format!("{} [env: {}]", help.unwrap_or_default(), names.join(", ")))
    })
}
