//! When an export that failed is tried again.

use std::time::Duration;

/// The first wait before the same report is tried again. It doubles each time.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(1);
pub(super) const LAST_RETRY: Duration = Duration::from_secs(30);
/// Time limit for reading renewed certificates.
pub(super) const RENEWAL: Duration = Duration::from_secs(1);
/// The longest pause that a receiver can ask for.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
