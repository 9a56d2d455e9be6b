//! The BPF programs: loads and attaches them, gives slots to tracked processes, and reads what was counted. Knows
//! neither how a process is selected nor where values go.

#[cfg(feature = "ebpf")]
mod attach;
#[cfg(feature = "ebpf")]
mod aya_error;
#[cfg(feature = "ebpf")]
mod aya_maps;
#[cfg(feature = "ebpf")]
mod baseline;
pub mod btf;
#[cfg(not(feature = "ebpf"))]
mod disabled;
#[cfg(feature = "ebpf")]
mod enabled;
#[cfg(feature = "ebpf")]
mod environment;
mod error;
mod event;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "only that feature needs all of it"))]
mod hook;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "only that feature needs all of it"))]
mod layout;
#[cfg(feature = "ebpf")]
mod loader;
#[cfg(feature = "ebpf")]
mod maps;
mod options;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "only that feature needs all of it"))]
pub(crate) mod permissions;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "only that feature needs all of it"))]
pub mod pins;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "only that feature needs all of it"))]
mod process;
#[cfg(feature = "ebpf")]
mod queues;
#[cfg(feature = "ebpf")]
mod slots;
mod snapshot;
pub mod tracefs;
#[cfg_attr(not(feature = "ebpf"), expect(dead_code, reason = "only that feature needs all of it"))]
mod variants;

#[cfg(not(feature = "ebpf"))]
pub use disabled::{Kernel, SlotHandle, snapshot_of};
#[cfg(feature = "ebpf")]
pub use enabled::{Kernel, snapshot_of};
pub use error::{KernelError, NoSlot};
pub use event::{Event, Events};
pub use hook::{Hook, SKIPPED};
pub use options::{BPF_FS, Comms, Options, is_capacity};
pub use process::{SlotProcess, Switches};
#[cfg(feature = "ebpf")]
pub use slots::SlotHandle;
pub use snapshot::{EndedSlot, Snapshot, TrackedSlot};
pub use variants::{BlockVariant, SwitchVariant};
