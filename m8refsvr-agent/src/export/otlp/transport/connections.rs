//! The tasks of connections, so that they can be ended: by itself one goes on until all that it was
//! given is sent, which a receiver that reads no more can put off for ever.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// Starts tasks, and ends those that have not ended by themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<JoinSet<()>>>);

impl Connections {
    /// Ends all tasks.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Connections {
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended need not be remembered.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
