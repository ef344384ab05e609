//! What an application may send and receive, in which order, and what its end means.

use pronghorn_proto::asgi::Ended;
use pronghorn_proto::asgi::http::{Conclusion, Exchange, Received, Sent};
use pronghorn_proto::error::ApplicationError::{
    self, AfterComplete, ExpectedBody, ExpectedStart, ExpectedTrailers,
};

const MORE: Received = Received::Request { more_body: true };
const LAST: Received = Received::Request { more_body: false };

/// What has happened to an exchange.
#[derive(Clone, Copy, Debug)]
enum Step {
    Start,
    Piece,
    Last,
    EndBody,
    TakeEnd,
    Leave,
    Disconnect,
}

use Step::{Disconnect, EndBody, Last, Leave, Piece, Start, TakeEnd};

fn after(steps: &[Step]) -> Exchange {
    let mut exchange = Exchange::new();
    for step in steps {
        match step {
            Start => assert!(exchange.start(false).is_ok(), "{steps:?}"),
            Piece => assert!(exchange.body(true).is_ok(), "{steps:?}"),
            Last => assert!(exchange.body(false).is_ok(), "{steps:?}"),
            EndBody => exchange.end_body(),
            TakeEnd => assert_eq!(exchange.receive(false), LAST, "{steps:?}"),
            Leave => exchange.leave(),
            Disconnect => exchange.disconnect(),
        }
    }
    exchange
}

#[test]
fn receives_what_there_is() {
    // With some of the body waiting and without.
    let cases: &[(&[Step], Received, Received)] = &[
        (&[], MORE, Received::Wait),
        (&[Start, Piece], MORE, Received::Wait),
        (&[EndBody], LAST, LAST),
        (&[EndBody, TakeEnd], MORE, Received::Wait),
        (&[EndBody, TakeEnd, Start], MORE, Received::Wait),
        // A body that came whole is delivered, whatever became of the client.
        (&[EndBody, Leave], LAST, LAST),
        (&[EndBody, Disconnect], LAST, LAST),
        (&[Disconnect, EndBody], LAST, LAST),
        (&[EndBody, TakeEnd, Leave], Received::Disconnect, Received::Disconnect),
        (&[EndBody, TakeEnd, Disconnect], Received::Disconnect, Received::Disconnect),
        // One that did not is never ended.
        (&[Leave], Received::Disconnect, Received::Disconnect),
        (&[Disconnect], Received::Disconnect, Received::Disconnect),
        (&[Start, Piece, Disconnect], Received::Disconnect, Received::Disconnect),
        // After the response there is nothing to receive.
        (&[Start, Last], Received::Disconnect, Received::Disconnect),
        (&[EndBody, Start, Last], Received::Disconnect, Received::Disconnect),
    ];
    for (steps, with_body, without) in cases {
        assert_eq!(after(steps).receive(true), *with_body, "{steps:?}");
        assert_eq!(after(steps).receive(false), *without, "{steps:?}");
    }
}

#[test]
fn end_of_the_body_is_received_once() {
    let mut exchange = after(&[EndBody]);
    assert_eq!(exchange.receive(true), LAST);
    for _ in 0..3 {
        assert_eq!(exchange.receive(false), Received::Wait);
    }
    exchange.disconnect();
    for _ in 0..3 {
        assert_eq!(exchange.receive(false), Received::Disconnect);
    }
}

#[test]
fn waiter_whose_message_another_one_took_knows_whether_there_is_more() {
    assert!(after(&[]).more_body());
    assert!(after(&[Disconnect]).more_body());
    assert!(!after(&[EndBody]).more_body());
    assert!(!after(&[EndBody, TakeEnd]).more_body());
}

#[test]
fn messages_are_sent_in_order() {
    type Outcome = Result<bool, ApplicationError>;
    let is_submitted = |sent: Sent| sent != Sent::Ignored;
    // `http.response.start`, then `http.response.body`, and the error for anything else.
    let cases: &[(&[Step], Outcome, Outcome, ApplicationError)] = &[
        (&[], Ok(true), Err(ExpectedStart), ExpectedStart),
        (&[EndBody, Leave], Ok(true), Err(ExpectedStart), ExpectedStart),
        (&[Start], Err(ExpectedBody), Ok(true), ExpectedBody),
        (&[Start, Leave], Err(ExpectedBody), Ok(true), ExpectedBody),
        (&[Start, Piece, Piece], Err(ExpectedBody), Ok(true), ExpectedBody),
        (&[Start, Last], Err(AfterComplete), Err(AfterComplete), AfterComplete),
        (&[Start, Piece, Last], Err(AfterComplete), Err(AfterComplete), AfterComplete),
        (&[Disconnect], Ok(false), Ok(false), ExpectedStart),
        (&[Start, Disconnect], Ok(false), Ok(false), ExpectedBody),
        (&[Start, Last, Disconnect], Ok(false), Ok(false), AfterComplete),
        (&[Disconnect, Start, Last], Ok(false), Ok(false), ExpectedStart),
        (&[Disconnect, Leave], Ok(false), Ok(false), ExpectedStart),
    ];
    for (steps, start, body, other) in cases {
        assert_eq!(after(steps).start(false).map(is_submitted), *start, "{steps:?}");
        assert_eq!(after(steps).body(true).map(is_submitted), *body, "{steps:?}");
        assert_eq!(after(steps).body(false).map(is_submitted), *body, "{steps:?}");
        assert_eq!(after(steps).unexpected(), *other, "{steps:?}");
    }
}

#[test]
fn trailers_follow_a_body_that_announced_them() {
    let more = |more| Ok(Sent::Submit { more });
    let mut plain = Exchange::new();
    assert_eq!(plain.trailers(false), Err(ExpectedStart));
    assert_eq!(plain.start(false), more(true));
    assert_eq!(plain.trailers(false), Err(ExpectedBody));
    assert_eq!(plain.body(true), more(true));
    assert_eq!(plain.body(false), more(false));
    assert_eq!(plain.trailers(false), Err(AfterComplete));

    let mut trailing = Exchange::new();
    assert_eq!(trailing.start(true), more(true));
    assert_eq!(trailing.body(true), more(true));
    assert_eq!(trailing.trailers(false), Err(ExpectedBody));
    // The last piece of the body is not the last of the response.
    assert_eq!(trailing.body(false), more(true));
    assert!(!trailing.is_complete());
    assert_eq!(trailing.body(false), Err(ExpectedTrailers));
    assert_eq!(trailing.start(false), Err(ExpectedTrailers));
    let log = Some("ASGI callable returned without completing response.");
    assert_eq!(trailing.conclude(Ended::Returned), Conclusion::Abort { log });
    assert_eq!(trailing.trailers(true), more(true));
    assert!(!trailing.is_complete());
    assert_eq!(trailing.trailers(false), more(false));
    assert!(trailing.is_complete());
    assert_eq!(trailing.trailers(false), Err(AfterComplete));
    assert_eq!(trailing.conclude(Ended::Returned), Conclusion::Nothing);

    trailing.disconnect();
    assert_eq!(trailing.trailers(false), Ok(Sent::Ignored));
}

#[test]
fn early_hint_precedes_the_end_of_the_body() {
    let hint = Ok(Sent::Submit { more: true });
    for (steps, outcome) in [
        (&[][..], hint),
        (&[Start], hint),
        (&[Start, Piece], hint),
        (&[Start, Last], Err(AfterComplete)),
        (&[Disconnect], Ok(Sent::Ignored)),
        (&[Start, Last, Disconnect], Ok(Sent::Ignored)),
    ] {
        assert_eq!(after(steps).early_hint(), outcome, "{steps:?}");
    }
}

#[test]
fn response_is_awaited_then_started_then_complete() {
    let cases: &[(&[Step], bool, bool)] = &[
        (&[], false, false),
        (&[Start], true, false),
        (&[Start, Piece], true, false),
        (&[Start, Last], true, true),
        (&[Disconnect, Start, Last], false, false),
    ];
    for (steps, started, complete) in cases {
        let exchange = after(steps);
        assert_eq!(
            (exchange.is_started(), exchange.is_complete()),
            (*started, *complete),
            "{steps:?}"
        );
    }
    assert!(!after(&[Leave]).is_disconnected());
    assert!(after(&[Leave, Disconnect]).is_disconnected());
    assert!(after(&[Disconnect, Leave]).is_disconnected());
}

#[test]
fn end_of_the_application_ends_its_response() {
    const NOTHING: Conclusion = Conclusion::Nothing;
    const ANSWER: Conclusion = Conclusion::Answer500 { log: None };
    const ABORT: Conclusion = Conclusion::Abort { log: None };
    let unstarted = Some("ASGI callable returned without starting response.");
    let incomplete = Some("ASGI callable returned without completing response.");
    // Returned, and raised.
    let cases: &[(&[Step], Conclusion, Conclusion)] = &[
        (&[], Conclusion::Answer500 { log: unstarted }, ANSWER),
        (&[EndBody], Conclusion::Answer500 { log: unstarted }, ANSWER),
        (&[Start], Conclusion::Abort { log: incomplete }, ABORT),
        (&[Start, Piece], Conclusion::Abort { log: incomplete }, ABORT),
        // The connection may be busy with another request by then.
        (&[Start, Last], NOTHING, NOTHING),
        // It was told that the client has left, and took it at its word.
        (&[Leave], ABORT, ANSWER),
        (&[Start, Piece, Leave], ABORT, ABORT),
        (&[Start, Last, Leave], NOTHING, NOTHING),
        (&[Disconnect], NOTHING, NOTHING),
        (&[Start, Disconnect], NOTHING, NOTHING),
        (&[Start, Last, Disconnect], NOTHING, NOTHING),
    ];
    for (steps, returned, raised) in cases {
        assert_eq!(after(steps).conclude(Ended::Returned), *returned, "{steps:?}");
        assert_eq!(after(steps).conclude(Ended::Raised), *raised, "{steps:?}");
        let log = Some("ASGI callable should return None, but returned");
        let exchange = after(steps);
        let valued = if exchange.is_complete() {
            Conclusion::Log { log }
        } else {
            Conclusion::Abort { log }
        };
        assert_eq!(exchange.conclude(Ended::ReturnedValue), valued, "{steps:?}");
    }
}

#[test]
fn errors_are_worded_as_people_match_them() {
    let cases = [
        (ExpectedStart, "Expected ASGI message 'http.response.start', but got 'x'."),
        (ExpectedBody, "Expected ASGI message 'http.response.body', but got 'x'."),
        (AfterComplete, "Unexpected ASGI message 'x' sent, after response already completed."),
        (ApplicationError::InvalidStatus, "Invalid HTTP status."),
        (ApplicationError::InvalidHeaderName, "Invalid HTTP header name."),
        (ApplicationError::InvalidHeaderValue, "Invalid HTTP header value."),
        (ApplicationError::InvalidContentLength, "Invalid HTTP Content-Length."),
        (ApplicationError::BodyTooLong, "Response content longer than Content-Length"),
        (ApplicationError::BodyTooShort, "Response content shorter than Content-Length"),
    ];
    for (error, text) in cases {
        assert_eq!(error.text("x"), text);
    }
}
