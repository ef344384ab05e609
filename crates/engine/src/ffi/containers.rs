//! `dict`, `list`, `tuple` and `int`, as far as messages and scopes need them.

use std::marker::PhantomData;
use std::ptr::NonNull;

use pyo3::ffi;

use crate::ffi::error::Raised;
use crate::ffi::object::Object;

fn check(status: i32) -> Result<(), Raised> {
    if status < 0 { Err(Raised) } else { Ok(()) }
}

pub fn new_dict() -> Result<Object, Raised> {
    // SAFETY: returns a new reference or sets an exception.
    unsafe { Object::from_new(ffi::PyDict_New()) }
}

/// A shallow copy, which for a dict without deletions is a copy of its table.
pub fn copy_dict(dict: &Object) -> Result<Object, Raised> {
    // SAFETY: a live object; anything but a dict is an error.
    unsafe { Object::from_new(ffi::PyDict_Copy(dict.as_ptr())) }
}

pub fn set_item(dict: &Object, key: &Object, value: &Object) -> Result<(), Raised> {
    // SAFETY: live objects; the dict takes references of its own.
    check(unsafe { ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr()) })
}

/// `del dict[key]`.
pub fn delete_item(dict: &Object, key: &Object) -> Result<(), Raised> {
    // SAFETY: live objects.
    check(unsafe { ffi::PyDict_DelItem(dict.as_ptr(), key.as_ptr()) })
}

/// `del dict[key]` if that is `value`; no more than a try.
pub fn delete_if(dict: &Object, key: &Object, value: &Object) {
    let deleted = get_item(dict, key).and_then(|present| match present {
        Some(present) if present.is(value) => delete_item(dict, key),
        _ => Ok(()),
    });
    if let Err(raised) = deleted {
        raised.forget::<()>();
    }
}

/// `dict.get(key)` for an exact or derived dict.
pub fn get_item(dict: &Object, key: &Object) -> Result<Option<Object>, Raised> {
    // SAFETY: a borrowed reference or null, with or without an exception.
    unsafe {
        let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.as_ptr());
        if !value.is_null() {
            Ok(Some(Object::from_borrowed(value)))
        } else if ffi::PyErr_Occurred().is_null() {
            Ok(None)
        } else {
            Err(Raised)
        }
    }
}

pub fn is_dict(object: &Object) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::PyDict_Check(object.as_ptr()) != 0 }
}

/// `dict(mapping)`.
pub fn dict_of_mapping(mapping: &Object) -> Result<Object, Raised> {
    let dict = new_dict()?;
    // SAFETY: live objects.
    check(unsafe { ffi::PyDict_Merge(dict.as_ptr(), mapping.as_ptr(), 1) })?;
    Ok(dict)
}

/// Keys and values in order, borrowed.
///
/// # Safety
/// `dict` is a live dictionary that is not changed meanwhile.
pub unsafe fn entries(
    dict: *mut ffi::PyObject,
) -> impl Iterator<Item = (*mut ffi::PyObject, *mut ffi::PyObject)> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: by the contract.
        let found =
            unsafe { ffi::PyDict_Next(dict, &raw mut position, &raw mut key, &raw mut value) };
        (found != 0).then_some((key, value))
    })
}

/// A list of what `items` yields, `count` of them.
pub fn new_list(
    count: usize,
    mut item: impl FnMut(usize) -> Result<Object, Raised>,
) -> Result<Object, Raised> {
    // SAFETY: the list is not yet shared; each slot below `count` is set once. A failure leaves
    // null slots, which the list's deallocation allows.
    unsafe {
        let list = Object::from_new(ffi::PyList_New(count.cast_signed()))?;
        for index in 0..count {
            ffi::PyList_SET_ITEM(list.as_ptr(), index.cast_signed(), item(index)?.into_raw());
        }
        Ok(list)
    }
}

/// `list[index] = item`.
pub fn replace_item(list: &Object, index: usize, item: &Object) -> Result<(), Raised> {
    let (index, item) = (index.cast_signed(), item.clone().into_raw());
    // SAFETY: a live object, and a reference of its own for the list.
    check(unsafe { ffi::PyList_SetItem(list.as_ptr(), index, item) })
}

/// A tuple of two.
pub fn pair(first: Object, second: Object) -> Result<Object, Raised> {
    // SAFETY: as for `new_list`.
    unsafe {
        let tuple = Object::from_new(ffi::PyTuple_New(2))?;
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 0, first.into_raw());
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 1, second.into_raw());
        Ok(tuple)
    }
}

/// A tuple of three.
pub fn triple(first: Object, second: Object, third: Object) -> Result<Object, Raised> {
    // SAFETY: as for `new_list`.
    unsafe {
        let tuple = Object::from_new(ffi::PyTuple_New(3))?;
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 0, first.into_raw());
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 1, second.into_raw());
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), 2, third.into_raw());
        Ok(tuple)
    }
}

pub fn integer(value: u64) -> Result<Object, Raised> {
    // SAFETY: returns a new reference or sets an exception.
    unsafe { Object::from_new(ffi::PyLong_FromUnsignedLongLong(value)) }
}

/// A size, as functions that count bytes return it.
pub fn as_size(object: &Object) -> Result<usize, Raised> {
    // SAFETY: a live object; -1 with an exception set means failure.
    let value = unsafe {
        let value = ffi::PyLong_AsSsize_t(object.as_ptr());
        if value == -1 && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised);
        }
        value
    };
    Ok(usize::try_from(value).unwrap_or_default())
}

/// An `int` (or a subclass such as `http.HTTPStatus`) that fits.
pub fn as_u16(object: &Object) -> Result<Option<u16>, Raised> {
    // SAFETY: a live object; -1 with an exception set means failure.
    let value = unsafe {
        let value = ffi::PyLong_AsLong(object.as_ptr());
        if value == -1 && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised);
        }
        value
    };
    Ok(u16::try_from(value).ok())
}

pub fn is_integer(object: &Object) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::PyLong_Check(object.as_ptr()) != 0 }
}

/// An `int` of 64 bits without a sign.
pub fn as_u64(object: &Object) -> Result<u64, Raised> {
    // SAFETY: a live object; the largest value with an exception set means failure.
    unsafe {
        let value = ffi::PyLong_AsUnsignedLongLong(object.as_ptr());
        if value == u64::MAX && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised);
        }
        Ok(value)
    }
}

pub fn float(value: f64) -> Result<Object, Raised> {
    // SAFETY: returns a new reference or sets an exception.
    unsafe { Object::from_new(ffi::PyFloat_FromDouble(value)) }
}

pub fn is_true(object: &Object) -> Result<bool, Raised> {
    // SAFETY: a live object.
    let truth = unsafe { ffi::PyObject_IsTrue(object.as_ptr()) };
    if truth < 0 { Err(Raised) } else { Ok(truth != 0) }
}

/// The items of a list or tuple, as borrowed from it; `None` for anything else.
///
/// The items are valid while nothing can change a list, that is while no Python code runs.
pub fn items(sequence: &Object) -> Option<impl Iterator<Item = Borrowed<'_>>> {
    Borrowed::of(sequence).items()
}

/// A borrowed object: what it is borrowed from keeps it alive.
#[derive(Clone, Copy)]
pub struct Borrowed<'a>(NonNull<ffi::PyObject>, PhantomData<&'a Object>);

impl<'a> Borrowed<'a> {
    fn of(object: &'a Object) -> Self {
        // SAFETY: a live object is not null.
        unsafe { Self::at(object.as_ptr()) }
    }

    /// # Safety
    /// `pointer` points to an object that lives for `'a`.
    unsafe fn at(pointer: *mut ffi::PyObject) -> Self {
        // SAFETY: by the contract.
        Self(unsafe { NonNull::new_unchecked(pointer) }, PhantomData)
    }

    fn to_owned(self) -> Object {
        // SAFETY: live for `'a`.
        unsafe { Object::from_borrowed(self.0.as_ptr()) }
    }

    fn items(self) -> Option<impl Iterator<Item = Self>> {
        let pointer = self.0.as_ptr();
        // SAFETY: the type is checked; an index below the size gives a live object.
        unsafe {
            let is_list = ffi::PyList_Check(pointer) != 0;
            if !is_list && ffi::PyTuple_Check(pointer) == 0 {
                return None;
            }
            let size = ffi::Py_SIZE(pointer);
            Some((0..size).map(move |index| {
                Self::at(if is_list {
                    ffi::PyList_GET_ITEM(pointer, index)
                } else {
                    ffi::PyTuple_GET_ITEM(pointer, index)
                })
            }))
        }
    }

    /// The two items of a pair that is a list or tuple.
    pub fn as_pair(self) -> Option<(Self, Self)> {
        let mut items = self.items()?;
        let pair = (items.next()?, items.next()?);
        items.next().is_none().then_some(pair)
    }

    /// The content of a `bytes`.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        // SAFETY: a `bytes` is immutable and lives for `'a`.
        unsafe {
            if ffi::PyBytes_Check(self.0.as_ptr()) == 0 {
                return None;
            }
            let data = ffi::PyBytes_AS_STRING(self.0.as_ptr()).cast::<u8>();
            let size = ffi::Py_SIZE(self.0.as_ptr()).cast_unsigned();
            Some(std::slice::from_raw_parts(data, size))
        }
    }
}

/// The two items of a pair.
pub fn pair_items(pair: &Object) -> Option<(Object, Object)> {
    let (first, second) = Borrowed::of(pair).as_pair()?;
    Some((first.to_owned(), second.to_owned()))
}

/// Any iterable of pairs of bytes-like objects as a list of tuples of `bytes`.
pub fn normalised_pairs(iterable: &Object) -> Result<Object, Raised> {
    let outer = sequence(iterable, c"headers must be an iterable of pairs")?;
    let items = list_copy(&outer)?;
    new_list(items.len(), |index| {
        let inner = sequence(&items[index], c"a header must be a pair")?;
        let pair_items = list_copy(&inner)?;
        let [name, value] = pair_items.as_slice() else {
            return Err(Raised::type_error("a header must be a pair of name and value"));
        };
        pair(bytes_like(name)?, bytes_like(value)?)
    })
}

/// Any iterable of bytes-like objects as a list of `bytes`.
pub fn list_of_bytes(iterable: &Object) -> Result<Object, Raised> {
    let items = list_copy(&sequence(iterable, c"an iterable of byte strings is required")?)?;
    new_list(items.len(), |index| bytes_like(&items[index]))
}

fn bytes_like(object: &Object) -> Result<Object, Raised> {
    match super::text::as_bytes(object) {
        Some(_) => Ok(object.clone()),
        None => super::text::bytes_of_buffer(object),
    }
}

fn sequence(iterable: &Object, message: &std::ffi::CStr) -> Result<Object, Raised> {
    // SAFETY: a live object and a text that ends with NUL.
    unsafe { Object::from_new(ffi::PySequence_Fast(iterable.as_ptr(), message.as_ptr())) }
}

fn list_copy(sequence: &Object) -> Result<Vec<Object>, Raised> {
    let items = items(sequence).ok_or_else(|| Raised::type_error("a list is required"))?;
    Ok(items.map(Borrowed::to_owned).collect())
}
