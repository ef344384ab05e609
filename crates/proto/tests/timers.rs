//! Deadlines of many connections, in the order in which they come.

use std::time::{Duration, Instant};

use pronghorn_proto::timers::Timers;

#[test]
fn gives_what_is_due_in_order_and_nothing_before() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut timers = Timers::default();
    for (seconds, what) in [(2, 'c'), (1, 'a'), (3, 'd'), (1, 'b')] {
        timers.add(at(seconds), what);
    }
    assert_eq!((timers.pop(start), timers.next()), (None, Some(at(1))));
    let due = [(1, 'a'), (1, 'b'), (2, 'c')].map(|(seconds, what)| Some((at(seconds), what)));
    for entry in due {
        assert_eq!(timers.pop(at(2)), entry);
    }
    assert_eq!((timers.pop(at(2)), timers.next()), (None, Some(at(3))));
    assert_eq!(timers.pop(at(4)), Some((at(3), 'd')));
    assert_eq!((timers.pop(at(4)), timers.next()), (None, None));
}
