//! The outside of TLS records: where each one ends, and what is no TLS at all.
//!
//! The engine's TLS session is OpenSSL's. Asking it for data that is not complete yet costs an
//! exception each time, so the engine follows the frames of the records (RFC 8446, 5.1; the same in
//! every version) and asks only when one is whole. Nothing here is trusted: a frame that makes no
//! sense counts as whole, for the session to refuse it.

/// The most payload that one record carries (RFC 8446, 5.1).
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 14;

/// The longest record: header, payload, and what ciphers of any version add to it (RFC 5246, 6.2.3).
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + PLAINTEXT_BYTES_MAX + 2048;

const HEADER_BYTES: usize = 5;

/// Follows the records of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records {
    header: [u8; HEADER_BYTES],
    /// So much of the header is there.
    known: usize,
    /// So much of the record is missing behind its header.
    missing: usize,
}

impl Records {
    /// Follows what has come, and says how many records that completes.
    pub fn follow(&mut self, mut bytes: &[u8]) -> usize {
        let mut whole = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.known < HEADER_BYTES {
                self.header[self.known] = byte;
                self.known += 1;
                bytes = rest;
                if self.known < HEADER_BYTES {
                    continue;
                }
                self.missing = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                if !self.is_plausible() {
                    self.missing = 0;
                }
            }
            let taken = self.missing.min(bytes.len());
            self.missing -= taken;
            bytes = &bytes[taken..];
            if self.missing == 0 {
                self.known = 0;
                whole += 1;
            }
        }
        whole
    }

    fn is_plausible(&self) -> bool {
        // change_cipher_spec, alert, handshake, application_data.
        matches!(self.header[0], 20..=23) && self.missing <= RECORD_BYTES_MAX - HEADER_BYTES
    }
}

/// Whether a connection that begins with `byte` speaks HTTP where TLS is expected. A TLS client
/// begins with a handshake record (22), one of old with the length of an SSL 2 greeting (from 128);
/// a request line with a letter (RFC 9110, 9.1).
#[must_use]
pub fn begins_plain_text(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
}
