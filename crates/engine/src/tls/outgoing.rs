//! What sessions have for their peers, in one memory buffer that all sessions of a listener share.
//!
//! Such a buffer stays as large as it once was. One for each session would therefore have to be
//! kept small by encrypting little at a time, and cost every idle connection something all the
//! same; the shared one costs nobody anything.
//!
//! It is empty whenever no session is in use: who uses one takes out what that has put in. A use
//! can begin inside another, by Python code that a session calls (an SNI callback, a signal
//! handler); what the outer one has put in by then is set aside for it.

use std::cell::{Cell, RefCell};

use crate::ffi::call::call;
use crate::ffi::error::Raised;
use crate::ffi::object::Object;
use crate::ffi::text;

/// See the module.
#[derive(Debug)]
pub struct Outgoing {
    buffer: Object,
    /// `MemoryBIO.read`.
    read: Object,
    /// Of each use under way, the innermost last, what was set aside for it.
    uses: RefCell<Vec<Vec<u8>>>,
    /// Something is left that its use could not take out.
    is_soiled: Cell<bool>,
}

impl Outgoing {
    pub fn new(buffer: Object, read: Object) -> Self {
        Self { buffer, read, uses: RefCell::default(), is_soiled: Cell::new(false) }
    }

    /// What sessions are to write to.
    pub fn buffer(&self) -> &Object {
        &self.buffer
    }

    /// Runs `work`, in which one session is used, and gives what that has put in, as `bytes`, if it
    /// is anything. `work` must not leave an exception set.
    pub fn collect<R>(&self, work: impl FnOnce() -> R) -> Result<(R, Option<Object>), Raised> {
        self.begin()?;
        let result = work();
        let content = self.take();
        let aside = self.uses.borrow_mut().pop().unwrap_or_default();
        self.is_soiled.set(content.is_err());
        let content = content?;
        if aside.is_empty() {
            return Ok((result, content));
        }
        let rest = content.as_ref().and_then(text::as_bytes).unwrap_or_default();
        Ok((result, Some(text::joined_bytes(&aside, rest)?)))
    }

    fn begin(&self) -> Result<(), Raised> {
        if self.is_soiled.get() {
            self.take()?;
            self.is_soiled.set(false);
        }
        if !self.uses.borrow().is_empty() {
            let content = self.take()?;
            let bytes = content.as_ref().and_then(text::as_bytes).unwrap_or_default();
            if let Some(aside) = self.uses.borrow_mut().last_mut() {
                aside.extend_from_slice(bytes);
            }
        }
        self.uses.borrow_mut().push(Vec::new());
        Ok(())
    }

    /// What is in the buffer, if it is anything.
    fn take(&self) -> Result<Option<Object>, Raised> {
        let content = call(&self.read, &[&self.buffer])?;
        Ok(text::as_bytes(&content).is_some_and(|bytes| !bytes.is_empty()).then_some(content))
    }
}
