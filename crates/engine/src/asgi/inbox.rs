//! Body bytes that have come and that the application has not taken.
//!
//! What comes in one piece, as most bodies do, is copied once into an object of its size; further
//! pieces are added to one that grows.

use crate::ffi::error::Raised;
use crate::ffi::growing::GrowingBytes;
use crate::ffi::object::Object;
use crate::settings::READ_BYTES;

#[derive(Debug, Default)]
pub struct Inbox(Option<GrowingBytes>);

impl Inbox {
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, GrowingBytes::len)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn push(&mut self, data: &[u8]) -> Result<(), Raised> {
        if !data.is_empty() {
            self.0 = Some(match self.0.take() {
                None => GrowingBytes::new(data)?,
                // Room for what one read brings, so that its pieces are moved once.
                Some(bytes) => bytes.extend(data, READ_BYTES)?,
            });
        }
        Ok(())
    }

    /// Everything as `bytes`, `None` when there is nothing.
    pub fn take(&mut self) -> Result<Option<Object>, Raised> {
        self.0.take().map(GrowingBytes::finish).transpose()
    }
}
