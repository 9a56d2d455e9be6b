//! The tasks of connections. A connection's task ends by itself only when all that it was given is sent, which a
//! receiver that reads no more can delay for ever. So tasks can be cancelled here.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt::Executor;
use tokio::task::JoinSet;

/// An executor whose tasks can be cancelled.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<JoinSet<()>>>);

impl Connections {
    /// Cancels all tasks.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Connections {
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Forgets the tasks that have ended.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}
