//! The names of users, from the system's user databases. A lookup can take forever if a directory service does not
//! answer. So lookups run in a thread of their own, and the caller waits no longer than a deadline.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::{
    sync::{Mutex, oneshot},
    time::{Instant, timeout_at},
};

use crate::{proc::system::user_name, sys::capabilities};

/// The longest wait for one lookup.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an answer is cached. After that, the user may have another name.
const KEPT: Duration = Duration::from_secs(10 * 60);

type Lookup = Arc<dyn Fn(u32) -> Option<String> + Send + Sync>;

/// Cached user names by user ID. A name can change later: callers that need a stable name keep their copy.
pub(super) struct UserNames {
    lookup: Lookup,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When a cached answer expires, and the answer.
    known: HashMap<u32, (Instant, Arc<str>)>,
    /// The thread's queue; the thread starts with the first question.
    questions: Option<mpsc::Sender<Question>>,
    /// The question that is not answered yet.
    pending: Option<(u32, oneshot::Receiver<Option<String>>)>,
}

struct Question {
    uid: u32,
    answer: oneshot::Sender<Option<String>>,
}

impl Default for UserNames {
    fn default() -> Self {
        Self::new(user_name)
    }
}

impl fmt::Debug for UserNames {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("UserNames").finish_non_exhaustive()
    }
}

impl UserNames {
    fn new(lookup: impl Fn(u32) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), state: Mutex::default() }
    }

    /// The name of a user, or its ID in digits if it has no name. The same if there is no answer by `deadline` or
    /// within [`LOOKUP_TIMEOUT`], and at once while an earlier question is not answered.
    pub(super) async fn name(&self, uid: u32, deadline: Instant) -> Arc<str> {
        let deadline = deadline.min(Instant::now() + LOOKUP_TIMEOUT);
        let found = timeout_at(deadline, async { self.state.lock().await.find(uid, &self.lookup).await });
        found.await.ok().flatten().unwrap_or_else(|| uid.to_string().into())
    }
}

impl State {
    /// `None` if the name can't be known now. The question stays pending if the caller stops waiting.
    async fn find(&mut self, uid: u32, lookup: &Lookup) -> Option<Arc<str>> {
        self.take_late_answer();
        let now = Instant::now();
        self.known.retain(|_, &mut (until, _)| until > now);
        if let Some((_, name)) = self.known.get(&uid) {
            return Some(Arc::clone(name));
        }
        if self.pending.is_some() {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        self.ask(Question { uid, answer }, lookup)?;
        let (_, receiver) = self.pending.insert((uid, receiver));
        let answer = receiver.await;
        self.pending = None;
        Some(self.keep(uid, answer.ok()?))
    }

    /// Caches an answer that came after the caller stopped waiting.
    fn take_late_answer(&mut self) {
        let Some((uid, receiver)) = &mut self.pending else { return };
        match receiver.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => {}
            answer => {
                let uid = *uid;
                self.pending = None;
                if let Ok(answer) = answer {
                    self.keep(uid, answer);
                }
            }
        }
    }

    fn keep(&mut self, uid: u32, answer: Option<String>) -> Arc<str> {
        let name: Arc<str> = answer.unwrap_or_else(|| uid.to_string()).into();
        self.known.insert(uid, (Instant::now() + KEPT, Arc::clone(&name)));
        name
    }

    fn ask(&mut self, question: Question, lookup: &Lookup) -> Option<()> {
        let questions = match self.questions.take() {
            Some(questions) => questions,
            None => start(Arc::clone(lookup))?,
        };
        // If the thread panicked in a lookup, the next question starts a new one.
        questions.send(question).ok()?;
        self.questions = Some(questions);
        Some(())
    }
}

/// Starts the thread that answers questions, until the queue is dropped. It is not one of the runtime's blocking
/// threads: those are few, and resolve the addresses of receivers.
fn start(lookup: Lookup) -> Option<mpsc::Sender<Question>> {
    let (questions, asked) = mpsc::channel::<Question>();
    let answer_all = move || {
        capabilities::for_files();
        for Question { uid, answer } in asked {
            // The caller may have stopped waiting.
            let _ = answer.send(lookup(uid));
        }
    };
    let thread = std::thread::Builder::new().name("user-names".into()).spawn(answer_all);
    thread
        .inspect_err(|error| {
            tracing::debug!("users are exported by their ids, as no thread can be started: {error}")
        })
        .ok()?;
    Some(questions)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex as StdMutex,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// A deadline that only a hanging test reaches.
    fn late() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    /// A lookup that counts its calls. Users below 100 have names.
    fn counting() -> (UserNames, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let names = UserNames::new(move |uid| {
            let time = counter.fetch_add(1, Ordering::SeqCst);
            (uid < 100).then(|| format!("user{uid} as of {time}"))
        });
        (names, asked)
    }

    /// A lookup that, for user 0, waits for an answer to be sent.
    fn hanging() -> (UserNames, mpsc::Sender<Option<String>>, Arc<AtomicU32>) {
        let (answers, waiting) = mpsc::channel();
        let waiting = StdMutex::new(waiting);
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let names = UserNames::new(move |uid| {
            counter.fetch_add(1, Ordering::SeqCst);
            if uid == 0 { waiting.lock().unwrap().recv().ok().flatten() } else { Some(format!("user{uid}")) }
        });
        (names, answers, asked)
    }

    #[tokio::test]
    async fn a_user_is_told_by_its_name_and_one_without_by_its_id() {
        let (names, asked) = counting();
        assert_eq!(&*names.name(7, late()).await, "user7 as of 0");
        assert_eq!(&*names.name(100, late()).await, "100");
        assert_eq!(&*names.name(7, late()).await, "user7 as of 0");
        assert_eq!(&*names.name(100, late()).await, "100");
        assert_eq!(asked.load(Ordering::SeqCst), 2, "each is looked up once");
    }

    #[tokio::test]
    async fn after_ten_minutes_it_is_looked_up_anew() {
        let (names, _) = counting();
        assert_eq!(&*names.name(7, late()).await, "user7 as of 0");
        for (later, expected) in [(KEPT / 2, "user7 as of 0"), (KEPT / 2, "user7 as of 1")] {
            tokio::time::pause();
            tokio::time::advance(later).await;
            tokio::time::resume();
            assert_eq!(&*names.name(7, late()).await, expected);
        }
        assert_eq!(names.state.lock().await.known.len(), 1);
    }

    #[tokio::test]
    async fn where_nobody_answers_the_id_is_told_and_for_others_at_once() {
        let (names, answers, asked) = hanging();
        // The paused clock advances when all tasks wait.
        tokio::time::pause();
        let began = Instant::now();
        assert_eq!(&*names.name(0, late()).await, "0");
        assert!(began.elapsed() >= LOOKUP_TIMEOUT);
        let began = Instant::now();
        for uid in [1, 2, 0] {
            assert_eq!(&*names.name(uid, late()).await, uid.to_string());
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        tokio::time::resume();
        answers.send(Some("root".into())).unwrap();
        // The thread first answers the earlier question, then continues.
        while &*names.name(0, late()).await != "root" {
            std::thread::yield_now();
        }
        assert_eq!(&*names.name(1, late()).await, "user1");
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_deadline_even_for_the_question_of_another() {
        let (names, _answers, _) = hanging();
        tokio::time::pause();
        let began = Instant::now();
        let deadline = began + LOOKUP_TIMEOUT / 4;
        let (one, other) = tokio::join!(names.name(0, deadline), names.name(1, deadline));
        assert_eq!((&*one, &*other), ("0", "1"));
        assert!(began.elapsed() < LOOKUP_TIMEOUT / 2);
        assert_eq!(&*names.name(2, began).await, "2");
    }

    #[tokio::test]
    async fn a_look_up_that_panics_costs_one_name() {
        let names = UserNames::new(|uid| {
            assert_ne!(uid, 0, "as a library may");
            Some(format!("user{uid}"))
        });
        assert_eq!(&*names.name(0, late()).await, "0");
        // The thread may still be unwinding when the next question comes.
        while &*names.name(1, late()).await != "user1" {
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn the_own_user_is_told_as_the_system_does() {
        let uid = rustix::process::getuid().as_raw();
        let expected = user_name(uid).unwrap_or_else(|| uid.to_string());
        assert_eq!(*UserNames::default().name(uid, late()).await, *expected);
    }
}
