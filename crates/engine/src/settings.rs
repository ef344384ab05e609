//! What the control plane decided, in the engine's units.

use std::time::Duration;

use pronghorn_proto::limits::Limits;

/// Settings of one engine. They do not change while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub limits: Limits,
    /// At so many connections or running requests, the next request is answered with 503.
    pub concurrency_max: Option<usize>,
    /// Paths whose requests are served beyond that; one that ends in `*` stands for all that begin so.
    pub concurrency_exempt: Vec<String>,
    /// A connection may turn out to speak HTTP/2.
    pub http2: bool,
    /// Several sends may go to the kernel together, if it knows how.
    pub io_uring: bool,
}

impl Settings {
    /// Whether requests for this path are served beyond the limit of concurrency.
    pub fn is_exempt_from_concurrency(&self, path: &[u8]) -> bool {
        self.concurrency_exempt.iter().any(|exempt| match exempt.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix.as_bytes()),
            None => path == exempt.as_bytes(),
        })
    }
}

/// The bytes read at once; also what a request body's inbox holds before reading pauses, since a
/// read may fill it in one go.
pub const READ_BYTES: usize = 64 * 1024;

/// With so much for it to take, an HTTP/2 application gets its turn before more is read, though the
/// windows have room for it: pieces that stay in the processor's cache cost less, and the client
/// hears early that it may go on. A read brings a little less than `READ_BYTES` of a body.
pub const TAKEN_FIRST_BYTES_MIN: usize = READ_BYTES / 2;

/// More than this unsent that the kernel does not take, and `send()` waits...
pub const HIGH_WATER_BYTES: usize = 64 * 1024;

/// ...until no more than this is left.
pub const LOW_WATER_BYTES: usize = 16 * 1024;

/// What an application writes without a pause goes to the kernel when it is more than this: each call
/// may wake the reader, and a response of a hundred small pieces takes one instead of two.
pub const WRITTEN_TOGETHER_MAX: usize = 128 * 1024;

/// The kernel keeps no more than about this for a peer that does not take it, beside what the peer
/// has room for. Its own bound is megabytes: memory that slow readers would get for nothing, and
/// which would hide from the write timeout that they are slow.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "others cannot be told"))]
pub const KERNEL_UNSENT_BYTES_MAX: u32 = 256 * 1024;

/// What of files is sent to one connection before the others get a turn.
pub const FILE_BYTES_PER_TURN: u64 = 1024 * 1024;

/// What of them is read at once, where TLS has to encrypt it.
pub const FILE_READ_BYTES: u64 = 256 * 1024;

/// What is read of a file at once where the kernel cannot send it by itself.
pub const FILE_COPY_BYTES: usize = 16 * 1024;

/// Static files up to this size are kept in memory.
pub const STATIC_CONTENT_BYTES_MAX: usize = 64 * 1024;

/// What the cache of static files holds of them in all...
pub const STATIC_CACHE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// ...of how many paths...
pub const STATIC_CACHE_ENTRIES_MAX: usize = 1024;

/// ...and how many open larger files.
pub const STATIC_CACHE_DESCRIPTORS_MAX: usize = 128;

/// After this time it is looked whether a static file has changed.
pub const STATIC_REVALIDATION: Duration = Duration::from_secs(1);

/// Pipelined bytes kept for later while a response is under way.
pub const PIPELINE_BYTES_MAX: usize = 64 * 1024;

/// So few answers are written one by one: to write them together takes a ring, which costs as much.
pub const SENDS_MIN: usize = 3;

/// No answer waits longer than this for others that it can be written together with, but for the
/// request that is being handled then.
pub const GATHERING_TIME: Duration = Duration::from_micros(250);

/// Larger payloads that somebody keeps go from the application's object to the socket without a copy.
pub const COPIED_PAYLOAD_BYTES_MAX: usize = 4 * 1024;

/// So many of them, and what is between them, are sent with one call.
pub const SENT_PIECES_MAX: usize = 32;

/// Plaintext that one call encrypts. More saves calls, and less stays in the processor's cache:
/// measured from 16 KB to 1 MB, 128 KB and 256 KB are best, by 7 % of a megabyte's time.
pub const SEALED_AT_ONCE_MAX: usize = 128 * 1024;

/// Plaintext that TLS encrypts, in records of 16 KB, before it goes to the kernel with one call: each
/// call wakes the reader, which is dearer than what the memory costs. A megabyte, and what is in
/// front of it.
pub const SEALED_TOGETHER_MAX: usize = (1024 + 16) * 1024;

/// What is encrypted and sent for one connection before the others get a turn, though the kernel
/// would take more: a few milliseconds' worth.
pub const SEALED_PER_TURN: usize = 4 * SEALED_TOGETHER_MAX;

/// A frame with no more than this in it goes to its stream in one piece, head and payload together:
/// copying so much costs less than going there twice.
pub const GATHERED_FRAME_BYTES_MAX: usize = 512;

/// HTTP/2 frames written before the kernel gets them...
pub const TRANSMIT_BYTES_MAX: usize = 128 * 1024;

/// ...and how often, before others get a turn.
pub const TRANSMIT_BUDGET: usize = 8;

/// Bytes of a file read for one frame of it.
pub const FRAME_FILE_BYTES: usize = 16 * 1024;

/// What one coroutine may send or receive without ever waiting before the others get a turn:
/// half a megabyte in pieces of 64 KB, as many do it, and what the pieces count for beside that.
pub const UNINTERRUPTED_BYTES_MAX: usize = (512 + 16) * 1024;

/// What a message counts for there beside its bytes: 2,000 of no length take a few milliseconds.
pub const UNINTERRUPTED_MESSAGE_BYTES: usize = 256;

/// Connections accepted from one listener before the others get a turn.
pub const ACCEPT_BUDGET: usize = 64;

/// Events handled in one turn of the loop.
pub const EVENT_BUDGET: usize = 256;

/// Pipelined requests of one connection answered in one turn.
pub const REQUEST_BUDGET: usize = 64;

/// Reads from one connection in one turn.
pub const READ_BUDGET: usize = 4;

/// How long a listener rests when descriptors have run out.
pub const ACCEPT_BACK_OFF: Duration = Duration::from_millis(500);

/// How long new connections are left to processes that have fewer; then they seem to be busy.
pub const ACCEPT_DEFERRAL: Duration = Duration::from_millis(2);

/// How long a connection whose last answer is out waits for the peer to end it or to send more of
/// what is dropped; closing at once could destroy the answer on its way.
pub const LINGER: Duration = Duration::from_secs(2);

/// How long it does so in all.
pub const LINGER_MAX: Duration = Duration::from_secs(10);

/// How long a head that has begun may take once the server is shutting down.
pub const DRAINED_HEAD_GRACE: Duration = Duration::from_secs(1);

/// How long a client may take to answer the close frame that says that the server is shutting down.
pub const DRAINED_CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Access-log lines gathered before they are written...
pub const ACCESS_LOG_BYTES_MAX: usize = 64 * 1024;

/// ...which happens after this time at the latest.
pub const ACCESS_LOG_DELAY: Duration = Duration::from_millis(100);

/// Receive buffers kept for the next read.
pub const SPARE_BUFFERS_MAX: usize = 2;

/// Transmit buffers up to this size are kept for the next response.
pub const SPARE_OUTBOX_BYTES_MAX: usize = 16 * 1024;

/// Transmit buffers kept.
pub const SPARE_OUTBOXES_MAX: usize = 64;
