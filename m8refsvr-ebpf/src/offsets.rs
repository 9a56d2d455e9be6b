//! Where the members of kernel structures lie that the BPF programs read, and how a member is read.

use core::{mem::MaybeUninit, ptr::read_volatile};

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, generated::bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
};
use m8refsvr_common::offsets::{ABSENT, Offsets};

/// All offsets. User space writes them before it loads the BPF programs, as the kernel's BTF has them.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets<Offset> = Offsets::all(Offset(MaybeUninit::new(ABSENT)));

/// An offset in bytes. The compiler must not know its value, which is another when the BPF programs are loaded; the
/// verifier knows it, and drops what is done for the other case.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(crate) struct Offset(MaybeUninit<u32>);

impl Offset {
    /// The offset, or [`ABSENT`].
    #[inline(always)]
    pub(crate) fn load(&self) -> u32 {
        // SAFETY: it was made from a number, and user space writes numbers alone.
        unsafe { read_volatile(self.0.as_ptr()) }
    }

    /// Whether this kernel has the member.
    #[inline(always)]
    pub(crate) fn is_known(&self) -> bool {
        self.load() != ABSENT
    }
}

/// Reads a member of a kernel structure; `None` where the kernel has no such member, or no memory is there.
#[inline(always)]
pub(crate) fn read<T>(structure: u64, member: &Offset) -> Option<T> {
    let offset = member.load();
    if offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel((structure + u64::from(offset)) as *const T) }.ok()
}

/// As [`read`], with 0 for what can't be read.
#[inline(always)]
pub(crate) fn read_u64(structure: u64, member: &Offset) -> u64 {
    read_or_zero(0, structure, member)
}

/// As [`read_u64`], of a member of four bytes.
#[inline(always)]
pub(crate) fn read_u32(structure: u64, member: &Offset) -> u32 {
    read_or_zero(0, structure, member)
}

/// Reads a member, or returns `zero`. The helper itself writes zeros where it can't read (`bpf_probe_read_kernel_common`
/// in `kernel/trace/bpf_trace.c`), so that no branch is needed: the verifier would follow both ways of each.
#[inline(always)]
fn read_or_zero<T>(zero: T, structure: u64, member: &Offset) -> T {
    let mut value = zero;
    let offset = member.load();
    if offset != ABSENT {
        let address = structure + u64::from(offset);
        // SAFETY: the helper checks the address, and writes as many bytes as the value has. Any bits are an integer.
        unsafe {
            bpf_probe_read_kernel_raw((&raw mut value).cast(), size_of::<T>() as u32, address as *const _);
        }
    }
    value
}
