//! The machine and the rights: the kernel, what describes it, and what this process may do.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use rustix::{
    process::{Resource, geteuid, getrlimit},
    system::uname,
    thread::CapabilitySet,
};

use super::finding::Finding;
use crate::{
    bpf::{
        btf::{Btf, VMLINUX},
        permissions::{NO_CAP_BPF, Rights},
        pins::{self, PinError},
        tracefs::can_read as can_read_tracefs,
    },
    proc::{Proc, mount::option, system::user_name},
    sys::{capabilities, clock_status, namespace},
};

/// The capabilities that the agent needs.
pub(super) const NEEDED: [(CapabilitySet, &str); 4] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
];

/// Those that CAP_SYS_ADMIN includes.
pub(super) const OF_BPF: [&str; 2] = ["CAP_BPF", "CAP_PERFMON"];

/// The machine, whose processes are in `proc` and whose BPF file system should be at `bpf_fs`.
pub fn host(proc: &Proc, bpf_fs: &Path) -> Vec<Finding> {
    let is_confined = !namespace::is_initial_user();
    let held = capabilities::effective().filter(|_| !is_confined).unwrap_or(CapabilitySet::empty());
    let btf_of_kernel = Btf::of_kernel().ok();
    let mut findings = vec![kernel(), btf()];
    findings.extend(ring_buffers(has_ring_buffers(btf_of_kernel.as_ref())));
    findings.extend([
        rights(held, is_confined, Rights::of_this_process().has_no_bpf()),
        memory_lock(btf_of_kernel.as_ref().map(locks_maps), held),
        tracefs(),
        bpf_file_system(bpf_fs),
        hidden(proc, held),
        time(),
    ]);
    findings
}

/// Its version says nothing about what it can do, as distributions port much of BPF back.
fn kernel() -> Finding {
    let system = uname();
    let (release, machine) = (system.release().to_string_lossy(), system.machine().to_string_lossy());
    Finding::ok("kernel", format!("Linux {release}, {machine}"))
}

/// Whether the kernel has BPF ring buffers (`kernel/bpf/ringbuf.c`, Linux 5.8 and later); `None` where neither its BTF
/// nor its symbols show it.
fn has_ring_buffers(btf: Option<&Btf>) -> Option<bool> {
    if let Some(btf) = btf {
        return Some(btf.member_offset("bpf_ringbuf", &["mask"]).is_some());
    }
    // Names are there for everybody; addresses alone are hidden.
    let symbols = BufReader::new(fs::File::open("/proc/kallsyms").ok()?);
    let mut lines = symbols.lines().map_while(Result::ok).peekable();
    lines.peek()?;
    Some(lines.any(|line| line.split_whitespace().nth(2) == Some("ringbuf_map_alloc")))
}

/// A line only where they are missing, and so is all that the kernel counts.
fn ring_buffers(has_ring_buffers: Option<bool>) -> Option<Finding> {
    (has_ring_buffers == Some(false)).then(|| {
        Finding::warning(
            "ring buffers",
            "this kernel has no BPF ring buffers, which the BPF programs need",
            "use Linux 5.8 or later, or a distribution's kernel that has them; on this one the agent reads /proc alone",
        )
    })
}

fn btf() -> Finding {
    match fs::File::open(VMLINUX) {
        Ok(_) => Finding::ok("BTF", format!("{VMLINUX} describes the kernel's structures")),
        Err(error) => Finding::warning(
            "BTF",
            format!("cannot open {VMLINUX}: {error}"),
            "without it (CONFIG_DEBUG_INFO_BTF) the agent counts by classic tracepoints, for which it needs tracefs, and \
             sees processes that start and exit only at its collections",
        ),
    }
}

/// What this process may do. With `is_confined` it is in a user namespace of its own, outside of which no capability
/// counts; with `has_no_bpf` the kernel knows no CAP_BPF.
fn rights(held: CapabilitySet, is_confined: bool, has_no_bpf: bool) -> Finding {
    let user = geteuid();
    let as_whom = match user_name(user.as_raw()) {
        Some(name) => format!("as {name}"),
        None => format!("as user {user}"),
    };
    if is_confined {
        return Finding::warning(
            "capabilities",
            format!(
                "{as_whom} of a user namespace, where capabilities count neither for BPF nor for processes outside"
            ),
            "run the agent outside of it: not by a rootless container, nor by `unshare --user`",
        );
    }
    let missing = missing(held);
    if has_no_bpf && held.contains(CapabilitySet::SYS_ADMIN) && missing.is_empty() {
        return Finding::ok("capabilities", format!("{as_whom}, with all that are needed; {NO_CAP_BPF}"));
    }
    if has_no_bpf && !held.contains(CapabilitySet::SYS_ADMIN) {
        let others = missing.iter().copied().filter(|name| !OF_BPF.contains(name));
        let missing: Vec<&str> = ["CAP_SYS_ADMIN"].into_iter().chain(others).collect();
        return Finding::warning(
            "capabilities",
            format!("{as_whom}, without {}", missing.join(", ")),
            NO_CAP_BPF,
        );
    }
    if missing.is_empty() {
        return Finding::ok("capabilities", format!("{as_whom}, with all four that are needed"));
    }
    Finding::warning(
        "capabilities",
        format!("{as_whom}, without {}", missing.join(", ")),
        "CAP_BPF and CAP_PERFMON are for counting in the kernel, the others for other users' processes: run as root, or as \
         the service does, or give them to the program by setcap; where systemd is older than 246, the service needs the \
         drop-in packaging/cap-sys-admin.conf",
    )
}

fn missing(held: CapabilitySet) -> Vec<&'static str> {
    capabilities::missing(held, &NEEDED)
}

/// Whether BPF maps count as locked memory, as before Linux 5.11. Each map then records its user
/// (`struct bpf_map` in `include/linux/bpf.h`).
fn locks_maps(btf: &Btf) -> bool {
    btf.member_offset("bpf_map", &["memory"]).is_some()
}

/// `locks_maps` is `None` where it is not known.
fn memory_lock(locks_maps: Option<bool>, held: CapabilitySet) -> Finding {
    const CHECK: &str = "locked memory";
    if locks_maps == Some(false) {
        return Finding::ok(CHECK, "no limit on BPF maps in this kernel");
    }
    let limit = getrlimit(Resource::Memlock);
    match limit.maximum {
        None => Finding::ok(CHECK, "not limited"),
        Some(_) if held.contains(CapabilitySet::SYS_RESOURCE) => {
            Finding::ok(CHECK, "limited, but CAP_SYS_RESOURCE lifts it")
        }
        Some(most) => Finding::warning(
            CHECK,
            format!("limited to {most} bytes"),
            "BPF maps count as locked memory where the kernel is older than 5.11: `ulimit -l unlimited`, or LimitMEMLOCK=infinity for a service",
        ),
    }
}

fn tracefs() -> Finding {
    match (can_read_tracefs(), fs::File::open(VMLINUX).is_ok()) {
        (true, _) => Finding::ok("tracefs", "can be read"),
        (false, true) => {
            Finding::ok("tracefs", "can't be read; without it hooks are attached by the kernel's BTF")
        }
        (false, false) => Finding::warning(
            "tracefs",
            "can't be read, and there is no BTF either",
            "mount it (mount -t tracefs tracefs /sys/kernel/tracing), and have CAP_DAC_READ_SEARCH",
        ),
    }
}

fn bpf_file_system(bpf_fs: &Path) -> Finding {
    const CHECK: &str = "BPF file system";
    match pins::running(bpf_fs) {
        Ok(agents) if agents.is_empty() => {
            Finding::ok(CHECK, format!("at {}; no running agent has its maps there", bpf_fs.display()))
        }
        Ok(agents) => {
            let pids: Vec<String> = agents.iter().map(|agent| agent.pid.to_string()).collect();
            Finding::ok(CHECK, format!("at {}; running agents: {}", bpf_fs.display(), pids.join(", ")))
        }
        Err(error) => {
            let advice = match &error {
                PinError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                    "`debug dump` alone needs it, to find a running agent: root can"
                }
                _ => "`debug dump` alone needs it, to find a running agent",
            };
            Finding::warning(CHECK, error.to_string(), advice)
        }
    }
}

fn hidden(proc: &Proc, held: CapabilitySet) -> Finding {
    const CHECK: &str = "hidepid";
    let root = proc.root().display();
    let hidden = option(proc, "hidepid").filter(|how| how != "0" && how != "off");
    match hidden {
        _ if proc.hides_processes() => Finding::warning(
            CHECK,
            format!("{root} hides processes of others"),
            "give CAP_SYS_PTRACE, or the group of the mount option gid=",
        ),
        None => Finding::ok(CHECK, format!("{root} hides no processes")),
        Some(how) if held.contains(CapabilitySet::SYS_PTRACE) => Finding::ok(
            CHECK,
            format!("{root} is mounted with hidepid={how}, which CAP_SYS_PTRACE overrules"),
        ),
        Some(how) => Finding::warning(
            CHECK,
            format!("{root} is mounted with hidepid={how}"),
            "files of others can't be read: give CAP_SYS_PTRACE, or the group of the mount option gid=",
        ),
    }
}

fn time() -> Finding {
    const CHECK: &str = "clock";
    match clock_status::state() {
        Ok(clock) if clock.is_synchronized => {
            let most = 1e3 * clock.most_off.as_secs_f64();
            Finding::ok(CHECK, format!("synchronized, at most {most:.0} ms off"))
        }
        Ok(_) => Finding::warning(
            CHECK,
            "not synchronized, as far as the kernel knows",
            "run chrony, systemd-timesyncd or the like: receivers order values by its time",
        ),
        Err(error) => {
            Finding::warning(CHECK, format!("its state can't be read: {error}"), "check it by hand")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Mark;

    #[test]
    fn a_kernel_without_the_finer_capabilities_is_told_what_helps() {
        let finding = rights(CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH, false, true);
        assert!(
            finding.mark == Mark::Warning && finding.found.ends_with("without CAP_SYS_ADMIN"),
            "{finding:?}"
        );
        let as_root = rights(CapabilitySet::all(), false, true);
        assert!(as_root.mark == Mark::Ok && as_root.found.contains("cap-sys-admin.conf"), "{as_root:?}");
    }

    #[test]
    fn the_coarse_capability_stands_for_the_finer_ones() {
        assert_eq!(missing(CapabilitySet::SYS_ADMIN), ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"]);
        assert_eq!(missing(CapabilitySet::all()), [""; 0]);
        assert_eq!(missing(CapabilitySet::empty()).len(), 4);
    }

    #[test]
    fn ring_buffers_are_a_line_where_they_are_missing() {
        assert_eq!(ring_buffers(Some(false)).unwrap().mark, Mark::Warning);
        assert!(ring_buffers(Some(true)).is_none() && ring_buffers(None).is_none());
        // These tests run on kernels that have them.
        let by_btf = Btf::of_kernel().ok().map(|btf| has_ring_buffers(Some(&btf)));
        assert!(by_btf.is_none_or(|found| found == Some(true)));
        assert!(has_ring_buffers(None).is_none_or(|found| found));
    }

    #[test]
    fn in_a_user_namespace_no_capability_is_worth_anything() {
        let finding = rights(CapabilitySet::all(), true, false);
        assert!(
            finding.mark == Mark::Warning && finding.found.contains("of a user namespace"),
            "{finding:?}"
        );
        assert_eq!(rights(CapabilitySet::all(), false, false).mark, Mark::Ok);
    }

    #[test]
    fn locked_memory_matters_before_maps_were_accounted_elsewhere() {
        assert_eq!(memory_lock(Some(false), CapabilitySet::empty()).mark, Mark::Ok);
        for unknown_or_old in [None, Some(true)] {
            let old = memory_lock(unknown_or_old, CapabilitySet::empty());
            let is_limited = getrlimit(Resource::Memlock).maximum.is_some();
            assert_eq!(old.mark == Mark::Warning, is_limited);
        }
        assert_eq!(memory_lock(Some(true), CapabilitySet::SYS_RESOURCE).mark, Mark::Ok);
    }
}
