//! What an application may send and receive on a WebSocket, and in which order.

use pronghorn_proto::asgi::Ended;
use pronghorn_proto::asgi::websocket::{Conclusion, Exchange, Received};
use pronghorn_proto::error::ApplicationError::{
    self, AfterClose, Disconnected, ExpectedAccept, ExpectedDenialBody, ExpectedMessage,
};

fn accepted() -> Exchange {
    let mut exchange = Exchange::new();
    exchange.accept().unwrap();
    exchange
}

fn denying() -> Exchange {
    let mut exchange = Exchange::new();
    exchange.deny().unwrap();
    exchange
}

fn closed() -> Exchange {
    let mut exchange = accepted();
    assert_eq!(exchange.close(), Ok(false));
    exchange
}

#[test]
fn connect_comes_first_and_once_then_messages_then_disconnect() {
    let mut exchange = Exchange::new();
    assert_eq!(exchange.receive(false), Received::Connect);
    assert_eq!(exchange.receive(false), Received::Wait);
    exchange.accept().unwrap();
    assert_eq!(exchange.receive(true), Received::Message);
    exchange.disconnect();
    // What came before the end is not lost.
    assert_eq!(exchange.receive(true), Received::Message);
    assert_eq!(exchange.receive(false), Received::Disconnect);
    assert_eq!(exchange.receive(false), Received::Disconnect);
}

#[test]
fn connect_comes_first_even_to_a_client_that_has_gone() {
    let mut exchange = Exchange::new();
    exchange.disconnect();
    assert_eq!(exchange.receive(false), Received::Connect);
    assert_eq!(exchange.receive(false), Received::Disconnect);
}

#[test]
fn own_close_is_followed_by_disconnect() {
    let mut exchange = Exchange::new();
    assert_eq!(exchange.close(), Ok(true), "that denies");
    exchange.receive(false);
    assert_eq!(exchange.receive(false), Received::Disconnect);
}

#[test]
fn each_state_allows_its_own_messages() {
    type Attempt = fn(&mut Exchange) -> Result<(), ApplicationError>;
    let attempts: [Attempt; 5] = [
        Exchange::accept,
        |exchange| exchange.send(),
        |exchange| exchange.close().map(drop),
        Exchange::deny,
        |exchange| exchange.deny_body(true),
    ];
    let table: [(Exchange, ApplicationError, [bool; 5]); 4] = [
        (Exchange::new(), ExpectedAccept, [true, false, true, true, false]),
        (accepted(), ExpectedMessage, [false, true, true, false, false]),
        (denying(), ExpectedDenialBody, [false, false, false, false, true]),
        (closed(), AfterClose, [false; 5]),
    ];
    for (exchange, error, allowed) in table {
        assert_eq!(exchange.unexpected(), error);
        for (attempt, is_allowed) in attempts.iter().zip(allowed) {
            let expected = if is_allowed { Ok(()) } else { Err(error) };
            assert_eq!(attempt(&mut exchange.clone()), expected, "{error:?}");
            // Nobody is there any more.
            let mut gone = exchange;
            gone.disconnect();
            assert_eq!(attempt(&mut gone), Err(Disconnected), "{error:?}");
        }
    }
}

#[test]
fn end_of_the_application_ends_what_it_left_open() {
    let handshake = "ASGI callable returned without completing handshake.";
    let response = "ASGI callable returned without completing response.";
    let value = "ASGI callable should return None, but returned";
    let gone = |mut exchange: Exchange| {
        exchange.disconnect();
        exchange
    };
    let table = [
        (Exchange::new(), Ended::Returned, Conclusion::Answer500 { log: Some(handshake) }),
        (Exchange::new(), Ended::Raised, Conclusion::Answer500 { log: None }),
        (gone(Exchange::new()), Ended::Returned, Conclusion::Nothing { log: None }),
        (denying(), Ended::Returned, Conclusion::Abort { log: Some(response) }),
        (denying(), Ended::Raised, Conclusion::Abort { log: None }),
        (accepted(), Ended::Returned, Conclusion::Abort { log: None }),
        (accepted(), Ended::Raised, Conclusion::Abort { log: None }),
        (accepted(), Ended::ReturnedValue, Conclusion::Abort { log: Some(value) }),
        (closed(), Ended::Returned, Conclusion::Nothing { log: None }),
        (closed(), Ended::ReturnedValue, Conclusion::Nothing { log: Some(value) }),
    ];
    for (exchange, ended, expected) in table {
        assert_eq!(exchange.conclude(ended), expected, "{exchange:?}, {ended:?}");
    }
}

#[test]
fn errors_are_worded_as_uvicorn_words_them() {
    for (error, text) in [
        (
            ExpectedAccept,
            "Expected ASGI message 'websocket.accept', 'websocket.close' or \
             'websocket.http.response.start' but got 'x'.",
        ),
        (
            ExpectedMessage,
            "Expected ASGI message 'websocket.send' or 'websocket.close', but got 'x'.",
        ),
        (ExpectedDenialBody, "Expected ASGI message 'websocket.http.response.body' but got 'x'."),
        (AfterClose, "Unexpected ASGI message 'x', after sending 'websocket.close'."),
    ] {
        assert_eq!(error.text("x"), text);
    }
}
