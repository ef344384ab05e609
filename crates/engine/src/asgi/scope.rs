//! Builds a request's scope: a copy of a template, with the request's own entries set.
//!
//! Field lines repeat from request to request, so their tuples are kept and found again by their
//! bytes. Only immutable objects are shared between requests, and what an earlier request has left
//! untouched.

use std::cell::RefCell;

use pronghorn_proto::head::{Field, Method, RequestHead, Version};

use crate::ffi::containers::{
    copy_dict, delete_item, get_item, integer, new_dict, new_list, pair, set_item,
};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::recurring::Recurring;
use crate::ffi::text;
use crate::listener::Address;

/// Longest field line whose tuple is kept. Longer ones (cookies, tokens) rarely repeat.
const CACHED_LINE_BYTES_MAX: usize = 160;

/// Slots of the cache; a line has one that it can be in.
const CACHE_SLOTS: usize = 512;

/// Makes scopes for one server.
pub struct ScopeMaker {
    template: Object,
    asgi: Recurring,
    /// What the server can do beyond the core of ASGI. An application may write to all of it.
    extensions: Recurring,
    /// The same where TLS is spoken.
    secured_extensions: Recurring,
    state: Object,
    root_path: Vec<u8>,
    empty_bytes: Object,
    websocket_spec_version: Object,
    fields: RefCell<Vec<Option<CachedField>>>,
}

/// What all requests of one connection say of it.
#[derive(Clone)]
pub struct Origin {
    pub server: Object,
    pub client: Object,
    /// The extension that describes the session, where TLS is spoken.
    pub tls: Option<Object>,
}

struct CachedField {
    line: Box<[u8]>,
    pair: Object,
}

impl ScopeMaker {
    /// `state` is what lifespan left; each request gets a shallow copy.
    pub fn new(root_path: &str, state: Object) -> Result<Self, Raised> {
        let names = names();
        let asgi = Recurring::of_values([
            (names.version.clone(), text::ascii(b"3.0")?),
            (names.spec_version.clone(), text::ascii(b"2.3")?),
        ]);
        let none = Object::none();
        let template = new_dict()?;
        set_item(&template, &names.r#type, &names.http)?;
        set_item(&template, &names.asgi, &none)?;
        set_item(&template, &names.http_version, &names.version_11)?;
        set_item(&template, &names.server, &none)?;
        set_item(&template, &names.client, &none)?;
        set_item(&template, &names.scheme, &names.http)?;
        set_item(&template, &names.root_path, &text::utf8_lossy(root_path.as_bytes())?)?;
        set_item(&template, &names.headers, &none)?;
        set_item(&template, &names.state, &none)?;
        set_item(&template, &names.extensions, &none)?;
        set_item(&template, &names.method, &names.fixed_method_get)?;
        set_item(&template, &names.path, &none)?;
        set_item(&template, &names.raw_path, &none)?;
        let empty_bytes = text::bytes(b"")?;
        set_item(&template, &names.query_string, &empty_bytes)?;
        Ok(Self {
            template,
            asgi,
            extensions: Recurring::of_empty_dicts(extension_names().map(Object::clone)),
            secured_extensions: Recurring::of_empty_dicts(extension_names().map(Object::clone))
                .with_changing(names.tls.clone()),
            state,
            root_path: root_path.as_bytes().to_vec(),
            empty_bytes,
            websocket_spec_version: text::ascii(b"2.4")?,
            fields: RefCell::new((0..CACHE_SLOTS).map(|_| None).collect()),
        })
    }

    /// The scope of the request whose head is `head`, as ranges of `source`.
    pub fn make(
        &self,
        head: &RequestHead,
        source: &[u8],
        origin: &Origin,
    ) -> Result<Object, Raised> {
        let names = names();
        let scope = copy_dict(&self.template)?;
        set_item(&scope, &names.asgi, &self.asgi.next()?)?;
        match head.version {
            Version::Http10 => set_item(&scope, &names.http_version, &names.version_10)?,
            Version::Http11 => {}
            Version::Http2 => set_item(&scope, &names.http_version, &names.version_2)?,
        }
        set_item(&scope, &names.server, &origin.server)?;
        set_item(&scope, &names.client, &origin.client)?;
        let extensions = match &origin.tls {
            None => self.extensions.next()?,
            Some(tls) => {
                set_item(&scope, &names.scheme, &names.https)?;
                let extensions = self.secured_extensions.next()?;
                set_item(&extensions, &names.tls, &copy_dict(tls)?)?;
                extensions
            }
        };
        let headers = new_list(head.fields.len(), |index| self.field(head.fields[index], source))?;
        set_item(&scope, &names.headers, &headers)?;
        set_item(&scope, &names.state, &copy_dict(&self.state)?)?;
        set_item(&scope, &names.extensions, &extensions)?;
        if head.method != Method::Get {
            set_item(&scope, &names.method, &method(head.method, source)?)?;
        }
        let raw_path = match head.path.of(source) {
            // An absolute form without a path (RFC 9112, 3.2.1).
            b"" => b"/",
            path => path,
        };
        set_item(&scope, &names.path, &self.path(raw_path)?)?;
        set_item(&scope, &names.raw_path, &text::joined_bytes(&self.root_path, raw_path)?)?;
        let query = head.query.of(source);
        if !query.is_empty() {
            set_item(&scope, &names.query_string, &text::bytes(query)?)?;
        }
        Ok(scope)
    }

    /// Makes a WebSocket's of the scope of a request.
    pub fn make_websocket(&self, scope: Object, subprotocols: &[&[u8]]) -> Result<Object, Raised> {
        let names = names();
        set_item(&scope, &names.r#type, &names.websocket)?;
        let asgi = self.asgi.make()?;
        set_item(&asgi, &names.spec_version, &self.websocket_spec_version)?;
        set_item(&scope, &names.asgi, &asgi)?;
        let scheme = get_item(&scope, &names.scheme)?;
        let is_secure = scheme.is_some_and(|scheme| text::as_str(&scheme) == Some("https"));
        set_item(&scope, &names.scheme, if is_secure { &names.wss } else { &names.ws })?;
        let subprotocols =
            new_list(subprotocols.len(), |index| text::utf8_lossy(subprotocols[index]))?;
        set_item(&scope, &names.subprotocols, &subprotocols)?;
        let extensions = match get_item(&scope, &names.extensions)? {
            Some(extensions) => extensions,
            None => new_dict()?,
        };
        for name in extension_names() {
            delete_item(&extensions, name)?;
        }
        set_item(&extensions, &names.websocket_http_response, &new_dict()?)?;
        set_item(&scope, &names.extensions, &extensions)?;
        delete_item(&scope, &names.method)?;
        Ok(scope)
    }

    /// The percent-decoded path after the root path.
    fn path(&self, raw_path: &[u8]) -> Result<Object, Raised> {
        if memchr::memchr(b'%', raw_path).is_none() {
            if self.root_path.is_empty() {
                return text::ascii(raw_path);
            }
            return text::utf8_lossy(&[&self.root_path, raw_path].concat());
        }
        let mut path = self.root_path.clone();
        path.extend(percent_encoding::percent_decode(raw_path));
        text::utf8_lossy(&path)
    }

    /// `(name in lower case, value)`.
    fn field(&self, field: Field, source: &[u8]) -> Result<Object, Raised> {
        let line = &source[field.name.range().start..field.value.range().end];
        if line.len() > CACHED_LINE_BYTES_MAX {
            return make_field(field, source);
        }
        let slot = hash(line) % CACHE_SLOTS;
        if let Some(cached) = &self.fields.borrow()[slot]
            && *cached.line == *line
        {
            return Ok(cached.pair.clone());
        }
        let pair = make_field(field, source)?;
        let cached = CachedField { line: line.into(), pair: pair.clone() };
        let replaced = self.fields.borrow_mut()[slot].replace(cached);
        drop(replaced);
        Ok(pair)
    }

    /// What the application's paths begin with.
    pub fn root_path(&self) -> &[u8] {
        &self.root_path
    }

    pub fn empty_bytes(&self) -> &Object {
        &self.empty_bytes
    }
}

fn extension_names() -> [&'static Object; 4] {
    let names = names();
    [&names.pathsend, &names.zerocopysend, &names.response_trailers, &names.early_hint]
}

fn make_field(field: Field, source: &[u8]) -> Result<Object, Raised> {
    pair(text::lower_bytes(field.name.of(source))?, text::bytes(field.value.of(source))?)
}

/// Spreads lines over the cache. Collisions, even those a client aims for, cost one allocation.
fn hash(line: &[u8]) -> usize {
    let mut hash = line.len() as u64;
    let mut words = line.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    for &byte in words.remainder() {
        hash = (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    usize::try_from(hash >> 40).unwrap_or_default()
}

fn method(method: Method, source: &[u8]) -> Result<Object, Raised> {
    let names = names();
    Ok(match method {
        Method::Get => names.fixed_method_get.clone(),
        Method::Head => names.fixed_method_head.clone(),
        Method::Post => names.fixed_method_post.clone(),
        Method::Put => names.fixed_method_put.clone(),
        Method::Delete => names.fixed_method_delete.clone(),
        Method::Options => names.fixed_method_options.clone(),
        Method::Patch => names.fixed_method_patch.clone(),
        Method::Connect => names.fixed_method_connect.clone(),
        Method::Other(span) => text::ascii(span.of(source))?,
    })
}

/// `(host, port)`, `(path, None)` for a Unix socket's own side, `None` for its client's.
pub fn address_object(address: &Address) -> Result<Object, Raised> {
    match address {
        Address::Inet(inet) => {
            pair(text::ascii(inet.ip().to_string().as_bytes())?, integer(u64::from(inet.port()))?)
        }
        Address::Unix(Some(path)) => pair(text::utf8_lossy(path)?, Object::none()),
        Address::Unix(None) => Ok(Object::none()),
    }
}
