//! The one table of counters: values of a process that only grow. A row is all that a counter needs: the enum
//! [`Counter`](super::counters::Counter), the sums, the keys of the JSON document, the metrics and their reference
//! follow from it.
//!
//! A metric has one counter for each value of its attribute. A row consists of
//!
//! - the attribute value,
//! - the key in the document,
//! - where the counter is read while the process lives,
//! - where the kernel's accounting has it when the process exits.

/// Passes the table to a macro, which takes from each row what its module needs.
macro_rules! with_counters {
    ($macro:ident) => {
        $macro! {
            "process.cpu.time" ["s"] "CPU time" by "cpu.mode" {
                /// CPU time in user mode, nanoseconds.
                CpuUser: "user", "cpu_user_time",
                    Stat(|stat| nanoseconds(of_ticks(stat.user_ticks))), |accounted| Some(cpu_time(accounted)?.0);
                /// CPU time in the kernel, nanoseconds.
                CpuSystem: "system", "cpu_system_time",
                    Stat(|stat| nanoseconds(of_ticks(stat.system_ticks))), |accounted| Some(cpu_time(accounted)?.1);
            }
            "process.paging.faults" ["{fault}"] "Page faults, with input (major) and without (minor)"
            by "system.paging.fault.type" {
                /// Page faults without input.
                MinorFaults: "minor", "minor_page_faults",
                    Stat(|stat| stat.minor_faults), |accounted| accounted.minor_faults;
                /// Page faults with input.
                MajorFaults: "major", "major_page_faults",
                    Stat(|stat| stat.major_faults), |accounted| accounted.major_faults;
            }
            "process.disk.io" ["By"]
                "Storage I/O as /proc/PID/io accounts it: bytes fetched, and bytes of pages made dirty"
            by "disk.io.direction" {
                /// Bytes fetched from storage.
                StorageRead: "read", "disk_read_bytes",
                    Io(|io| io.read_bytes), |accounted| accounted.read_bytes;
                /// Bytes of pages made dirty.
                StorageWrite: "write", "disk_write_bytes",
                    Io(|io| io.write_bytes), |accounted| accounted.write_bytes;
            }
            "m8refsvr.read_write.io" ["By"]
                "Bytes that read and write calls moved: page cache, pipes and sockets included"
            by "disk.io.direction" {
                /// Bytes that read calls returned.
                CallRead: "read", "read_call_bytes", Io(|io| io.rchar), |accounted| accounted.rchar;
                /// Bytes that write calls took.
                CallWrite: "write", "write_call_bytes", Io(|io| io.wchar), |accounted| accounted.wchar;
            }
            "m8refsvr.read_write.calls" ["{call}"] "Read and write calls, from and to any file, pipe or socket"
            by "disk.io.direction" {
                /// Read calls.
                ReadCalls: "read", "read_calls", Io(|io| io.syscr), |accounted| accounted.syscr;
                /// Write calls.
                WriteCalls: "write", "write_calls", Io(|io| io.syscw), |accounted| accounted.syscw;
            }
            "m8refsvr.block.io" ["By"] "Bytes in requests that the processes made to block devices"
            by "disk.io.direction" {
                /// Bytes in read requests to block devices.
                BlockRead: "read", "block_read_bytes", BlockIo(|counts| counts.read_bytes), |_| None;
                /// Bytes in write requests to block devices.
                BlockWrite: "write", "block_write_bytes", BlockIo(|counts| counts.write_bytes), |_| None;
            }
            "m8refsvr.block.operations" ["{operation}"] "Requests that the processes made to block devices"
            by "disk.io.direction" {
                /// Read requests to block devices.
                BlockReads: "read", "block_read_operations", BlockIo(|counts| counts.read_operations), |_| None;
                /// Write requests to block devices.
                BlockWrites: "write", "block_write_operations", BlockIo(|counts| counts.write_operations), |_| None;
            }
            "process.context_switches" ["{context_switch}"]
                "Context switches of all threads, exited ones included"
            by "process.context_switch.type" {
                /// Context switches in which a thread began to wait.
                Voluntary: "voluntary", "voluntary_ctx_switches",
                    Switches(|switches| switches.voluntary), |accounted| accounted.voluntary;
                /// Context switches in which a thread was preempted or yielded.
                Involuntary: "involuntary", "nonvoluntary_ctx_switches",
                    Switches(|switches| switches.involuntary), |accounted| accounted.involuntary;
            }
        }
    };
}

pub(crate) use with_counters;
