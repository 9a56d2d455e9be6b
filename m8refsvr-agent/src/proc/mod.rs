//! The files of /proc, below a root that is a parameter: a folder of fixtures is a /proc too. The only module that
//! reads them. It knows neither BPF nor what becomes of the values.
//!
//! What is read of every process at every collection has parsers of its own, which work on the bytes in place: `stat`,
//! `statm`, `io`, and the threads' `status` where the kernel does not count for the agent. The procfs crate parses the
//! rest: mounts, cgroups, limits, the machine's memory. It makes strings and maps of a whole file for the few values
//! that are wanted, which costs ten times as much and more (`cargo bench -p m8refsvr-agent --bench parsers`). Where a
//! file is read once, or once a minute, that does not matter.
//!
//! procfs gets bytes, and opens no file. It would open each file by its path, so that two files could be of two
//! processes with the same id. Here a process is held by a descriptor of its folder, and each file is read up to a
//! limit. Text that procfs can't parse is dealt with first: bytes that are not UTF-8, for which it refuses a whole
//! file; a file that was cut off; and text that no kernel writes, at which it panics. procfs has no reader for `fd`,
//! the descriptors of BPF programs, `timens_offsets` and /sys.

pub mod bpf_fdinfo;
pub mod cgroup;
pub mod container;
pub mod cpu_clock;
pub mod fd;
pub mod identity;
pub mod io;
pub mod limits;
pub mod mount;
mod process;
pub mod process_attributes;
mod root;
pub mod stat;
pub mod statm;
pub mod status;
pub mod switches;
pub mod system;
mod text;
mod threads;
mod unreadable;

pub use process::Process;
pub use root::{Proc, is_proc};
pub use unreadable::Unreadable;

#[cfg(test)]
mod tests {
    use super::{stat::Stat, *};

    #[test]
    fn files_that_are_kept_open_say_the_same_until_the_process_has_exited() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let proc = Proc::new("/proc");
        let mut kept = proc.process(child.id()).unwrap();
        kept.keep().unwrap();
        let mut buffer = Vec::new();
        // Once it has executed its program it is idle.
        let idle = |buffer: &mut Vec<u8>| {
            let stat = Stat::read(&kept, buffer).ok()?;
            let opened = Stat::read(&proc.process(child.id()).unwrap(), buffer).unwrap();
            (stat == opened && stat::comm(buffer) == Some(b"sleep")).then_some(stat)
        };
        let stat = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            idle(&mut buffer)
        });
        assert!(stat.is_some());
        let opened = proc.process(child.id()).unwrap();
        let io = |process: &Process| io::read(process, &mut Vec::new());
        assert_eq!((io(&kept), fd::count(&kept)), (io(&opened), fd::count(&opened)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Stat::read(&kept, &mut buffer), Err(Unreadable::Gone));
        assert_eq!((io(&kept), fd::count(&kept)), (Err(Unreadable::Gone), Err(Unreadable::Gone)));
    }
}
