//! What the kernel knows of its clock: `adjtimex`, which no library here wraps.

use std::{io, mem::MaybeUninit, time::Duration};

/// The clock of the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Whether it is synchronized.
    pub is_synchronized: bool,
    /// By how much it may be off, as the time service says.
    pub most_off: Duration,
}

/// Asks the kernel, and changes nothing.
pub fn state() -> io::Result<Clock> {
    let mut all = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zeros is a valid `timex`, in which no mode asks for a change; the kernel writes to it alone.
    let (outcome, all) = unsafe { (libc::adjtimex(all.as_mut_ptr()), all.assume_init()) };
    if outcome < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Clock {
        is_synchronized: outcome != libc::TIME_ERROR && all.status & libc::STA_UNSYNC == 0,
        most_off: Duration::from_micros(u64::try_from(all.maxerror).unwrap_or_default()),
    })
}
