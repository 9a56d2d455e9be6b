//! Notifies the service manager (systemd) that the agent is ready, that its loop runs, and that it stops. The protocol
//! is that of sd_notify(3) and sd_watchdog_enabled(3). Without a service manager that asks for it, nothing happens.

use std::{future::pending, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};

use crate::logging::escape::in_line;

/// The service manager that started this process, if one did.
#[derive(Debug)]
pub struct Manager {
    /// Whether it asked for notifications.
    listens: bool,
    /// Time between two watchdog notifications.
    period: Option<Duration>,
    next: Instant,
    is_ready: bool,
    status: String,
}

impl Manager {
    /// As the environment of this process describes it.
    pub fn of_this_process() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET").is_some(), sd_notify::watchdog_enabled())
    }

    /// `patience` is the watchdog timeout, after which the service manager considers the agent stuck.
    fn new(listens: bool, patience: Option<Duration>) -> Self {
        // Half of the timeout, as sd_watchdog_enabled(3) recommends.
        let period = patience.map(|patience| patience / 2);
        Self { listens, period, next: Instant::now(), is_ready: false, status: String::new() }
    }

    /// Sends the status after a collection, if the service manager asked for it. The first one makes the agent ready.
    pub fn ready(&mut self, status: impl FnOnce() -> String) {
        if !self.listens {
            return;
        }
        // The protocol separates fields by newlines.
        let status = in_line(&status());
        let ready = (!self.is_ready).then_some(NotifyState::Ready);
        self.is_ready = true;
        if ready.is_some() || status != self.status {
            let states: Vec<_> = ready.into_iter().chain([NotifyState::Status(&status)]).collect();
            notify(&states);
            self.status = status;
        }
    }

    /// Sends a watchdog notification.
    pub fn alive(&mut self) {
        if let Some(period) = self.period {
            notify(&[NotifyState::Watchdog]);
            self.next = Instant::now() + period;
        }
    }

    /// Returns when the next watchdog notification is due. Never returns if the service manager has no watchdog.
    pub async fn due(&self) {
        match self.period {
            Some(_) => sleep_until(self.next).await,
            None => pending().await,
        }
    }

    /// Notifies the service manager that the agent stops.
    pub fn ends(&self) {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager can't be notified: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sign_of_life_is_due_at_half_of_the_managers_patience_after_the_last() {
        let mut manager = Manager::new(true, Some(Duration::from_secs(60)));
        let began = Instant::now();
        manager.due().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        manager.alive();
        manager.due().await;
        assert_eq!(began.elapsed(), Duration::from_secs(30));
    }

    #[test]
    fn the_status_is_made_only_where_a_service_manager_listens() {
        let mut asked = 0;
        for listens in [false, true] {
            Manager::new(listens, None).ready(|| {
                asked += 1;
                String::new()
            });
        }
        assert_eq!(asked, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_waits_for_signs_of_life_none_is_due() {
        let mut manager = Manager::new(true, None);
        manager.alive();
        let outcome = tokio::time::timeout(Duration::from_secs(86_400), manager.due()).await;
        assert!(outcome.is_err());
    }
}
