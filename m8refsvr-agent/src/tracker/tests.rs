//! What a process had before it was tracked, and what it is called afterwards.

use super::*;
use crate::{model::sample::fixtures::nothing, proc::Unreadable};

fn found(start_ticks: u64) -> Match {
    let identity = Identity { pid: 7, start_ticks };
    let (name, executable) = ("M8RefSvr".into(), None);
    Match { identity, parent: None, group: 0, name, executable, invocation: None }
}

#[test]
fn another_program_takes_the_place_of_the_one_before_until_the_process_is_described() {
    let selector = Selector::new(&["M8RefSvr".into()], &[]).unwrap();
    let mut tracker = Tracker::new(Proc::new("/nowhere"), selector, None);
    let mut executes = |command: &str, is_described: bool| {
        let command = Some(command.into());
        let invocation = Some(Box::new(Invocation { command, ..Invocation::default() }));
        let name = "another".into();
        tracker.start_tracking(Match { invocation, name, ..found(50) }, false, true);
        let tracked = tracker.tracked.get_mut(&found(50).identity).unwrap();
        if is_described {
            tracked.attributes = Some(Arc::default());
            tracked.invocation = None;
        }
        assert_eq!(&*tracked.name, "another");
        tracked.invocation.as_ref().and_then(|it| it.command.clone())
    };
    assert_eq!(executes("/bin/a", false).as_deref(), Some("/bin/a"));
    assert_eq!(executes("/bin/b", false).as_deref(), Some("/bin/b"));
    assert_eq!(executes("/bin/b", true), None);
    assert_eq!(executes("/bin/c", false), None);
}

#[test]
fn all_that_a_process_did_counts_if_it_started_since_the_look_before_it_matched() {
    let selector = Selector::new(&["M8RefSvr".into()], &[]).unwrap();
    let mut tracker = Tracker::new(Proc::new("/nowhere"), selector, None);
    let first = |tracker: &mut Tracker, start_ticks| {
        tracker.start_tracking(found(start_ticks), false, true);
        tracker.tracked[&found(start_ticks).identity].first
    };
    assert_eq!(first(&mut tracker, 50), None, "before the first collection");
    tracker.last_began = Some(100);
    assert_eq!(first(&mut tracker, 99), None);
    assert_eq!(first(&mut tracker, 100), nothing());
    // One that comes back began to match with what it had then.
    let identity = found(100).identity;
    tracker.take_final_values(identity, EndKind::Deselected, Totals::default());
    assert_eq!(first(&mut tracker, 100), None);
    tracker.take_final_values(identity, EndKind::Deselected, Totals::default());
    tracker.take_ended();
    assert_eq!(first(&mut tracker, 100), None);
}

#[test]
fn a_thread_is_no_process_though_proc_can_open_it() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("M8RefSvr_thread".into());
    let thread = thread.spawn(move || {
        sender.send(rustix::thread::gettid().as_raw_pid()).unwrap();
        let _ = ends.recv();
    });
    let id = u32::try_from(receiver.recv().unwrap()).unwrap();
    let selector = Selector::new(&["M8RefSvr_thread".into()], &[]).unwrap();
    let mut tracker = Tracker::new(Proc::new("/proc"), selector, None);
    assert!(matches!(tracker.find(id), Err(Unreadable::Gone)));
    drop(end);
    thread.unwrap().join().unwrap();
}
