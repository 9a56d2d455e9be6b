//! A task for each request, so that a panic of a library fails one export and not the agent.

use std::{any::Any, panic};

use tokio::task::JoinSet;

use super::error::{ExportError, one_line};

tokio::task_local! {
    /// Set in the tasks of requests, whose panics are reported as errors.
    static IN_REQUEST: ();
}

/// Makes a request in a task of its own, which is cancelled when the caller stops waiting. A panic of the task is an
/// error: tonic panics at some answers, such as one whose `grpc-status-details-bin` is not base64.
pub(super) async fn isolated<T: Send + 'static>(
    request: impl Future<Output = Result<T, ExportError>> + Send + 'static,
) -> Result<T, ExportError> {
    let mut task = JoinSet::new();
    task.spawn(IN_REQUEST.scope((), request));
    match task.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => Err(ExportError::Broken(match error.try_into_panic() {
            Ok(panic) => one_line(message_of(panic.as_ref())),
            Err(error) => error.to_string(),
        })),
        None => Err(ExportError::Broken("the task of the export is gone".into())),
    }
}

/// Keeps panics of requests from standard error: each is reported once, as a failed export.
pub fn keep_panics_of_requests() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if IN_REQUEST.try_with(|()| ()).is_err() {
            others(panic);
        }
    }));
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}
