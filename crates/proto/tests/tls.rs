//! The frames of TLS records, however they are cut.

use pronghorn_proto::tls::{PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX, Records, begins_plain_text};

fn record(kind: u8, payload: usize) -> Vec<u8> {
    let length = u16::try_from(payload).expect("fits").to_be_bytes();
    let mut bytes = vec![kind, 3, 3, length[0], length[1]];
    // Bytes that would be headers themselves if the length were not kept.
    bytes.extend((0..payload).map(|index| if index % 5 == 0 { 23 } else { 0 }));
    bytes
}

#[test]
fn counts_whole_records() {
    let bytes = [record(22, 200), record(23, 0), record(23, PLAINTEXT_BYTES_MAX)].concat();
    assert_eq!(Records::default().follow(&bytes), 3);
    assert_eq!(Records::default().follow(&bytes[..bytes.len() - 1]), 2);
}

#[test]
fn counts_the_same_cut_anywhere() {
    let bytes = [record(22, 7), record(20, 1), record(23, 30)].concat();
    for cut in 0..=bytes.len() {
        let mut records = Records::default();
        let first = records.follow(&bytes[..cut]);
        assert_eq!(first + records.follow(&bytes[cut..]), 3, "cut at {cut}");
    }
    let mut records = Records::default();
    let single: Vec<usize> = bytes.chunks(1).map(|byte| records.follow(byte)).collect();
    let ends: Vec<usize> = (0..single.len()).filter(|&index| single[index] > 0).collect();
    assert_eq!(ends, [11, 17, 52]);
}

#[test]
fn takes_the_longest_record() {
    let bytes = record(23, RECORD_BYTES_MAX - 5);
    let mut records = Records::default();
    assert_eq!(records.follow(&bytes[..bytes.len() - 1]), 0);
    assert_eq!(records.follow(&bytes[bytes.len() - 1..]), 1);
}

#[test]
fn does_not_wait_for_a_record_that_makes_no_sense() {
    for header in [[23, 3, 3, 0xff, 0xff], [99, 3, 3, 0, 9], [0, 0, 0, 0, 0]] {
        assert_eq!(Records::default().follow(&header), 1, "{header:?}");
    }
}

#[test]
fn tells_http_from_tls() {
    assert!(b"GPOc".iter().all(|&byte| begins_plain_text(byte)));
    assert!([22, 0x80, 0, 0x0d, b' ', 0xff].iter().all(|&byte| !begins_plain_text(byte)));
}
