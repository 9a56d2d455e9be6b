//! The id of the container in which a process runs, from the path of its cgroup.

use std::ffi::OsStr;

/// Hexadecimal digits of an id.
const LENGTH: usize = 64;

/// The id in the path of a cgroup; of nested containers that of the innermost.
///
/// Runtimes name the cgroup after the container: `<id>` itself, or `<runtime>-<id>.scope` where systemd makes it.
/// Older versions of containerd have `<slice>:cri-containerd:<id>`. The monitor of a container (`conmon`) has its id
/// in its name too, but runs outside of it.
pub fn id(cgroup: &(impl AsRef<OsStr> + ?Sized)) -> Option<&str> {
    let components = cgroup.as_ref().as_encoded_bytes().rsplit(|&byte| byte == b'/');
    components.filter_map(|component| std::str::from_utf8(component).ok()).find_map(|component| {
        let name = component.strip_suffix(".scope").unwrap_or(component);
        let (runtime, id) = match name.rfind(['-', ':']) {
            Some(at) => (&name[..at], &name[at + 1..]),
            None => ("", name),
        };
        let is_id = id.len() == LENGTH && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_id && !runtime.ends_with("conmon")).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b1c2d3e4f5061728394a5b6c7d8e9f00b1c2d3e4f5061728394a5b6c7d8e9f0";
    const OUTER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
    const POD: &str = "pod6b8a3c0e-19a3-4c6e-a1d1-7f0c2e9b1a22";

    #[test]
    fn each_runtime_names_its_cgroups_after_the_container() {
        let slice = format!("kubepods-burstable-{}", POD.replace('-', "_"));
        for path in [
            // Docker with cgroupfs and with systemd.
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            // Kubernetes with cgroupfs, and with systemd over containerd, CRI-O and Docker.
            format!("/kubepods/{POD}/{ID}"),
            format!("/kubepods/besteffort/{POD}/{ID}"),
            format!("/kubepods.slice/kubepods-burstable.slice/{slice}.slice/cri-containerd-{ID}.scope"),
            format!("/kubepods.slice/kubepods-burstable.slice/{slice}.slice/crio-{ID}.scope"),
            format!("/kubepods.slice/{slice}.slice/docker-{ID}.scope"),
            format!("/system.slice/containerd.service/{slice}.slice:cri-containerd:{ID}"),
            // As seen from a cgroup namespace beside it.
            format!("/../../{POD}/{ID}"),
            // Podman, and what it splits a service's cgroup into.
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            format!("/system.slice/web.service/libpod-payload-{ID}"),
            format!("/libpod_parent/{OUTER}/libpod-{ID}"),
            // ECS.
            format!("/ecs/5a1c7c30e4f64d4b8a9c0d1e2f3a4b5c/{ID}"),
            format!("/ecs/cluster/5a1c7c30-e4f6-4d4b-8a9c-0d1e2f3a4b5c/{ID}"),
            // systemd, or Docker, in a container.
            format!("/docker/{ID}/init.scope"),
            format!("/docker/{OUTER}/system.slice/docker-{ID}.scope"),
        ] {
            assert_eq!(id(&path), Some(ID), "{path}");
        }
    }

    #[test]
    fn what_runs_on_the_host_is_in_no_container() {
        for path in [
            String::new(),
            "/".into(),
            "/init.scope".into(),
            "/system.slice/ssh.service".into(),
            "/user.slice/user-1000.slice/session-3.scope".into(),
            "/system.slice/containerd.service".into(),
            "/kubepods/burstable".into(),
            format!("/kubepods/{POD}"),
            // The monitors of containers.
            format!("/kubepods.slice/kubepods-burstable.slice/crio-conmon-{ID}.scope"),
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            // A pod, a service, and what is longer, shorter or no id.
            format!("/machine.slice/machine-libpod_pod_{ID}.slice"),
            format!("/system.slice/{ID}.service"),
            format!("/docker/{ID}0"),
            format!("/docker/{}", &ID[1..]),
            format!("/docker/{}", ID.replace('c', "C")),
            format!("/docker/{}", ID.replace('c', "g")),
            format!("/docker/{}\u{fc}", &ID[2..]),
        ] {
            assert_eq!(id(&path), None, "{path}");
        }
    }

    #[test]
    fn the_monitor_of_a_nested_container_is_in_the_outer_one() {
        let path = format!("/docker/{OUTER}/machine.slice/libpod-conmon-{ID}.scope");
        assert_eq!(id(&path), Some(OUTER));
    }
}
