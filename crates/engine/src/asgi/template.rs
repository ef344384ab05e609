//! What scopes are copied from: a dictionary with what all of them have, and what the last one had
//! that the next may have too.
//!
//! To set an entry takes as long as to copy a third of the dictionary, so what need not be set is
//! left as it is.

use std::cell::RefCell;

use crate::ffi::containers::{copy_dict, new_dict, set_item};
use crate::ffi::error::Raised;
use crate::ffi::names::names;
use crate::ffi::object::Object;
use crate::ffi::recurring::Recurring;

/// What scopes of one scheme are copied from.
pub struct Template {
    dict: Object,
    server: Steady,
    client: Steady,
    http_version: Steady,
    method: Steady,
    path: Steady,
    raw_path: Steady,
    asgi: Recurring,
    extensions: Recurring,
    state: Recurring,
}

/// What is in all scopes of one scheme.
pub struct Common<'a> {
    pub scheme: &'a Object,
    pub root_path: &'a Object,
    pub query_string: &'a Object,
    pub asgi: &'a Object,
    /// Names of what the server can do beyond the core of ASGI. Each has a dictionary, which an
    /// application may write to.
    pub extensions: &'a [&'static Object],
    pub has_tls: bool,
    pub state: &'a Object,
}

/// Immutable values, which requests that follow each other often have in common.
pub struct Values<'a> {
    pub server: &'a Object,
    pub client: &'a Object,
    pub http_version: &'a Object,
    pub method: &'a Object,
    pub path: &'a Object,
    pub raw_path: &'a Object,
}

impl Template {
    pub fn new(common: &Common<'_>) -> Result<Self, Raised> {
        let names = names();
        let none = Object::none();
        let dict = new_dict()?;
        set_item(&dict, &names.r#type, &names.http)?;
        set_item(&dict, &names.asgi, &none)?;
        set_item(&dict, &names.http_version, &none)?;
        set_item(&dict, &names.server, &none)?;
        set_item(&dict, &names.client, &none)?;
        set_item(&dict, &names.scheme, common.scheme)?;
        set_item(&dict, &names.root_path, common.root_path)?;
        set_item(&dict, &names.headers, &none)?;
        set_item(&dict, &names.state, &none)?;
        set_item(&dict, &names.extensions, &none)?;
        set_item(&dict, &names.method, &none)?;
        set_item(&dict, &names.path, &none)?;
        set_item(&dict, &names.raw_path, &none)?;
        set_item(&dict, &names.query_string, common.query_string)?;
        let extensions = new_dict()?;
        for &name in common.extensions {
            set_item(&extensions, name, &none)?;
        }
        if common.has_tls {
            set_item(&extensions, &names.tls, &none)?;
        }
        Ok(Self {
            server: Steady::new(&names.server),
            client: Steady::new(&names.client),
            http_version: Steady::new(&names.http_version),
            method: Steady::new(&names.method),
            path: Steady::new(&names.path),
            raw_path: Steady::new(&names.raw_path),
            asgi: Recurring::new(&dict, &names.asgi, common.asgi, &[])?,
            extensions: Recurring::new(&dict, &names.extensions, &extensions, common.extensions)?,
            state: Recurring::new(&dict, &names.state, common.state, &[])?,
            dict,
        })
    }

    /// A scope without what only its request has. `tls` is its own description of the session.
    pub fn copy(&self, values: &Values<'_>, tls: Option<Object>) -> Result<Object, Raised> {
        let own = [&self.asgi, &self.extensions, &self.state];
        // To make another can run a finaliser, which could keep what was untouched before.
        while let Some(touched) = own.iter().find(|recurring| !recurring.is_untouched()) {
            touched.renew()?;
        }
        // From here on no Python code runs before the entries have been copied.
        self.server.set(&self.dict, values.server)?;
        self.client.set(&self.dict, values.client)?;
        self.http_version.set(&self.dict, values.http_version)?;
        self.method.set(&self.dict, values.method)?;
        self.path.set(&self.dict, values.path)?;
        self.raw_path.set(&self.dict, values.raw_path)?;
        let replaced = tls.map(|tls| self.extensions.put(&names().tls, tls)).transpose()?;
        let scope = copy_dict(&self.dict);
        drop(replaced);
        scope
    }
}

/// An entry with an immutable value.
struct Steady {
    key: &'static Object,
    value: RefCell<Object>,
}

impl Steady {
    /// The entry is there, and `None`.
    fn new(key: &'static Object) -> Self {
        Self { key, value: RefCell::new(Object::none()) }
    }

    fn set(&self, dict: &Object, value: &Object) -> Result<(), Raised> {
        if !self.value.borrow().is(value) {
            set_item(dict, self.key, value)?;
            self.value.replace(value.clone());
        }
        Ok(())
    }
}
