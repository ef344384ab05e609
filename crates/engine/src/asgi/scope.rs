//! Builds a request's scope: a copy of a template, with the request's own entries set.
//!
//! Field lines and paths repeat from request to request, so what is made of them is kept. Only
//! immutable objects are shared between requests, and what an earlier request has left untouched.

use std::cell::RefCell;

use pronghorn_proto::head::{Field, Method, RequestHead, Version};

use crate::asgi::repeating::Repeating;
use crate::asgi::template::{Common, Template, Values};
use crate::ffi::containers::{
    copy_dict, delete_item, get_item, integer, new_dict, new_list, pair, set_item,
};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::text;
use crate::listener::Address;

/// Makes scopes for one server.
pub struct ScopeMaker {
    plain: Template,
    /// Where TLS is spoken.
    secured: Template,
    websocket_asgi: Object,
    /// The last server that was asked for.
    server: RefCell<Option<(Address, Object)>>,
    root_path: Vec<u8>,
    empty_bytes: Object,
    fields: Repeating<Object>,
    paths: Repeating<Paths>,
}

/// `path` and `raw_path`.
type Paths = [Object; 2];

/// What all requests of one connection say of it.
pub struct Origin {
    pub server: Object,
    pub client: Object,
    /// The extension that describes the session, where TLS is spoken.
    pub tls: Option<Object>,
}

impl ScopeMaker {
    /// `state` is what lifespan left; each request gets a shallow copy.
    pub fn new(root_path: &str, state: &Object) -> Result<Self, Raised> {
        let names = names();
        let asgi = asgi_dict(b"2.3")?;
        let empty_bytes = text::bytes(b"")?;
        let plain = Common {
            scheme: &names.http,
            root_path: &text::utf8_lossy(root_path.as_bytes())?,
            query_string: &empty_bytes,
            asgi: &asgi,
            extensions: &extension_names(),
            has_tls: false,
            state,
        };
        Ok(Self {
            plain: Template::new(&plain)?,
            secured: Template::new(&Common { scheme: &names.https, has_tls: true, ..plain })?,
            websocket_asgi: asgi_dict(b"2.4")?,
            server: RefCell::new(None),
            root_path: root_path.as_bytes().to_vec(),
            empty_bytes,
            fields: Repeating::new(),
            paths: Repeating::new(),
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
        let http_version = match head.version {
            Version::Http10 => &names.version_10,
            Version::Http11 => &names.version_11,
            Version::Http2 => &names.version_2,
        };
        let target = match head.path.of(source) {
            // An absolute form without a path (RFC 9112, 3.2.1).
            b"" => b"/",
            path => path,
        };
        let [path, raw_path] = self.paths.find_or_make(target, || {
            Ok([self.path(target)?, text::joined_bytes(&self.root_path, target)?])
        })?;
        let values = Values {
            server: &origin.server,
            client: &origin.client,
            http_version,
            method: &method(head.method, source)?,
            path: &path,
            raw_path: &raw_path,
        };
        let headers = new_list(head.fields.len(), |index| self.field(head.fields[index], source))?;
        let tls = origin.tls.as_ref().map(copy_dict).transpose()?;
        let template = if tls.is_some() { &self.secured } else { &self.plain };
        let scope = template.copy(&values, tls)?;
        set_item(&scope, &names.headers, &headers)?;
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
        set_item(&scope, &names.asgi, &copy_dict(&self.websocket_asgi)?)?;
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
        self.fields.find_or_make(line, || {
            pair(text::lower_bytes(field.name.of(source))?, text::bytes(field.value.of(source))?)
        })
    }

    /// The server that a local address stands for, one object for connections in a row.
    pub fn server(&self, address: &Address) -> Result<Object, Raised> {
        if let Some((last, server)) = &*self.server.borrow()
            && last == address
        {
            return Ok(server.clone());
        }
        let server = address_object(address)?;
        self.server.replace(Some((address.clone(), server.clone())));
        Ok(server)
    }

    /// What the application's paths begin with.
    pub fn root_path(&self) -> &[u8] {
        &self.root_path
    }

    pub fn empty_bytes(&self) -> &Object {
        &self.empty_bytes
    }
}

/// The versions of ASGI and of its part for a kind of scope.
fn asgi_dict(spec_version: &[u8]) -> Result<Object, Raised> {
    let names = names();
    let asgi = new_dict()?;
    set_item(&asgi, &names.version, &text::ascii(b"3.0")?)?;
    set_item(&asgi, &names.spec_version, &text::ascii(spec_version)?)?;
    Ok(asgi)
}

fn extension_names() -> [&'static Object; 4] {
    let names = names();
    [&names.pathsend, &names.zerocopysend, &names.response_trailers, &names.early_hint]
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
