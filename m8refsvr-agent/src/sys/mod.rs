//! Thin wrappers over the system. The only folder with unsafe code.

pub mod boot_clock;
pub mod capabilities;
#[expect(unsafe_code, reason = "calls what no library wraps")]
pub mod clock_status;
#[expect(unsafe_code, reason = "tells the kernel which memory it may take back")]
pub mod heap;
#[cfg(feature = "ebpf")]
pub(crate) mod kernel_release;
#[cfg(feature = "ebpf")]
#[expect(unsafe_code, reason = "maps memory that it shares with the kernel")]
pub(crate) mod mapped_array;
pub(crate) mod namespace;
