//! What sessions have for their peers, in one memory buffer that all sessions of a listener share.
//!
//! Such a buffer stays as large as it once was. One for each session would therefore have to be
//! kept small by encrypting little at a time, and cost every idle connection something all the
//! same; the shared one costs nobody anything.
//!
//! It is empty whenever no session is in use: who uses one takes out what that has put in. A use
//! can begin inside another, by Python code that a session calls (an SNI callback, a signal
//! handler); what the outer one has put in by then is set aside for it. When a use cannot take out
//! what it has put in, nobody gets it: it fails, and so do those that it is inside of.

use std::cell::{Cell, RefCell};

use crate::ffi::call::call;
use crate::ffi::error::Raised;
use crate::ffi::native::attached;
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
    /// is anything.
    pub fn collect<R>(
        &self,
        work: impl FnOnce() -> Result<R, Raised>,
    ) -> Result<(R, Option<Object>), Raised> {
        self.begin()?;
        // Nothing must be raised while the buffer is read.
        let result = work().map_err(|raised| raised.take(attached()));
        let content = self.take();
        let aside = self.uses.borrow_mut().pop().unwrap_or_default();
        match (result, content) {
            (Ok(result), Ok(content)) => Ok((result, behind(&aside, content)?)),
            (Ok(_), Err(raised)) => Err(raised),
            (Err(exception), content) => {
                if let Err(raised) = content {
                    raised.forget::<()>();
                }
                Err(Raised::restore(attached(), exception))
            }
        }
    }

    fn begin(&self) -> Result<(), Raised> {
        if self.uses.borrow().is_empty() {
            // What is left of a use that has failed is nobody's any more.
            if self.is_soiled.replace(false) {
                self.take()?;
            }
        } else {
            let content = self.take()?;
            if let Some(aside) = self.uses.borrow_mut().last_mut() {
                aside.extend_from_slice(content.as_ref().map_or(&[], bytes));
            }
        }
        self.uses.borrow_mut().push(Vec::new());
        Ok(())
    }

    /// What is in the buffer, if it is anything.
    fn take(&self) -> Result<Option<Object>, Raised> {
        if self.is_soiled.get() {
            return Err(Raised::runtime_error("what was to be sent by TLS is lost"));
        }
        let content = call(&self.read, &[&self.buffer]);
        self.is_soiled.set(content.is_err());
        Ok(Some(content?).filter(|content| !bytes(content).is_empty()))
    }
}

/// What a use has put in behind what was set aside for it.
fn behind(aside: &[u8], content: Option<Object>) -> Result<Option<Object>, Raised> {
    if aside.is_empty() {
        return Ok(content);
    }
    text::joined_bytes(aside, content.as_ref().map_or(&[], bytes)).map(Some)
}

fn bytes(content: &Object) -> &[u8] {
    text::as_bytes(content).unwrap_or_default()
}
