//! Interned strings and shared immutable values, made once.

use std::sync::OnceLock;

use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::text;

/// Shared immutable objects. They live as long as the process.
pub struct Shared<T>(T);

impl<T> Shared<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    pub fn get(&self) -> &T {
        &self.0
    }
}

// SAFETY: holds immutable objects that are never released; only attached threads read them.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

macro_rules! names {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// Interned strings, by the name of what they say.
        pub struct Names { $(pub $name: Object),* }

        impl Names {
            fn intern() -> Result<Self, Raised> {
                Ok(Self { $($name: intern($text)?),* })
            }
        }
    };
}

names! {
    add = "add",
    asgi = "asgi",
    asyncio_future_blocking = "_asyncio_future_blocking",
    r#await = "__await__",
    body = "body",
    bytes = "bytes",
    call_soon = "call_soon",
    cancel = "cancel",
    client = "client",
    close = "close",
    code = "code",
    count = "count",
    done = "done",
    eager_start = "eager_start",
    early_hint = "http.response.early_hint",
    file = "file",
    extensions = "extensions",
    fixed_method_connect = "CONNECT",
    fixed_method_delete = "DELETE",
    fixed_method_get = "GET",
    fixed_method_head = "HEAD",
    fixed_method_options = "OPTIONS",
    fixed_method_patch = "PATCH",
    fixed_method_post = "POST",
    fixed_method_put = "PUT",
    headers = "headers",
    http = "http",
    https = "https",
    http_disconnect = "http.disconnect",
    http_request = "http.request",
    http_version = "http_version",
    links = "links",
    r#loop = "loop",
    method = "method",
    more_body = "more_body",
    more_trailers = "more_trailers",
    name = "name",
    offset = "offset",
    path = "path",
    pending = "pending",
    pathsend = "http.response.pathsend",
    query_string = "query_string",
    raw_path = "raw_path",
    reason = "reason",
    response_trailers = "http.response.trailers",
    root_path = "root_path",
    scheme = "scheme",
    seek = "seek",
    server = "server",
    set_result = "set_result",
    spec_version = "spec_version",
    ssl_socket = "_sslobj",
    state = "state",
    status = "status",
    subprotocol = "subprotocol",
    subprotocols = "subprotocols",
    tell = "tell",
    text = "text",
    throw = "throw",
    trailers = "trailers",
    tls = "tls",
    r#type = "type",
    value = "value",
    version = "version",
    version_10 = "1.0",
    version_2 = "2",
    version_11 = "1.1",
    websocket = "websocket",
    websocket_connect = "websocket.connect",
    websocket_disconnect = "websocket.disconnect",
    websocket_http_response = "websocket.http.response",
    websocket_receive = "websocket.receive",
    ws = "ws",
    wss = "wss",
    zerocopysend = "http.response.zerocopysend",
}

static NAMES: OnceLock<Shared<Names>> = OnceLock::new();

/// Makes the names; called when the module is imported.
pub fn initialise() -> Result<(), Raised> {
    if NAMES.get().is_none() {
        let names = Names::intern()?;
        let _ = NAMES.set(Shared::new(names));
    }
    Ok(())
}

/// The names, made at import.
pub fn names() -> &'static Names {
    &NAMES.get().expect("made when the module was imported").0
}

fn intern(value: &str) -> Result<Object, Raised> {
    let object = text::ascii(value.as_bytes())?;
    let mut pointer = object.into_raw();
    // SAFETY: an owned `str`; the call may replace it by an equal one, which is then owned.
    unsafe {
        ffi::PyUnicode_InternInPlace(&raw mut pointer);
        Object::from_new(pointer)
    }
}
