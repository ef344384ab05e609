//! Takes a callback away from the loop's `call_soon`.
//!
//! A task that a future wakes is handed to `loop.call_soon`, and so is the first step of a task where
//! there are no eager ones (CPython 3.11). Then a message or a request waits for a turn of the loop
//! that costs more than it does itself. So, for the rest of a turn of the engine that makes such a
//! call, the loop's instance attribute `call_soon` is a function that keeps that step here, to be
//! run at once; all other callbacks it passes on.

use std::cell::{Cell, RefCell};

use pyo3::ffi;
use smallvec::SmallVec;

use crate::ffi::call;
use crate::ffi::containers::{delete_if, get_item, new_list, replace_item, set_item};
use crate::ffi::error::Raised;
use crate::ffi::function;
use crate::ffi::names::names;
use crate::ffi::native::{attached, guarded};
use crate::ffi::object::Object;

/// A callback and the context to run it in.
struct Captured {
    callback: Object,
    /// The future, where one is done.
    argument: Option<Object>,
    context: Object,
}

thread_local! {
    static SLOT: RefCell<Slot> = const { RefCell::new(Slot::Closed) };
    static IS_PASSING_ON: Cell<bool> = const { Cell::new(false) };
}

enum Slot {
    /// All callbacks go to the real `call_soon`.
    Closed,
    /// The next callback is kept.
    Open,
    Full(Captured),
}

/// The loop's attributes, with `call_soon` among them.
pub struct Capture {
    attributes: Object,
    call_soon: Object,
    function: Object,
    /// A list: where the function passes other callbacks on to, and `call_soon`.
    target: Object,
    /// What was there before, while the function is.
    replaced: RefCell<Option<Object>>,
}

impl Capture {
    /// `attributes` is the loop's `__dict__`, `call_soon` its bound method.
    pub fn new(attributes: Object, call_soon: Object) -> Result<Self, Raised> {
        let target = new_list(2, |_| Ok(call_soon.clone()))?;
        let function = function::bind(CALL_SOON, &target)?;
        Ok(Self { attributes, call_soon, function, target, replaced: RefCell::new(None) })
    }

    /// Runs `make` and then the callback that it gave to the loop, if any.
    pub fn run_at_once(
        &self,
        make: impl FnOnce() -> Result<Object, Raised>,
    ) -> Result<Object, Raised> {
        self.install()?;
        SLOT.replace(Slot::Open);
        let result = make();
        let slot = SLOT.replace(Slot::Closed);
        let object = result?;
        if let Slot::Full(captured) = slot
            && let Err(raised) = captured.run(&self.call_soon)
        {
            raised.report(Some(&captured.callback));
        }
        Ok(object)
    }

    fn install(&self) -> Result<(), Raised> {
        if self.replaced.borrow().is_some() {
            return Ok(());
        }
        // The entry stays, since changing one is cheaper than adding and removing it.
        let present = get_item(&self.attributes, &names().call_soon)?;
        let present = present.unwrap_or_else(|| self.call_soon.clone());
        replace_item(&self.target, 0, &present)?;
        set_item(&self.attributes, &names().call_soon, &self.function)?;
        self.replaced.replace(Some(present));
        Ok(())
    }

    /// The turn is over: the loop has its own `call_soon` again, or the one that somebody has given
    /// it meanwhile.
    pub fn release(&self) {
        let Some(replaced) = self.replaced.take() else { return };
        let is_ours = get_item(&self.attributes, &names().call_soon)
            .is_ok_and(|present| present.is_some_and(|present| present.is(&self.function)));
        if is_ours && let Err(raised) = set_item(&self.attributes, &names().call_soon, &replaced) {
            raised.report(Some(&self.attributes));
        }
    }

    /// Leaves the loop as it was.
    pub fn remove(&self) {
        self.release();
        delete_if(&self.attributes, &names().call_soon, &self.call_soon);
    }
}

impl Captured {
    /// What `Handle._run` does. A callback that cannot run here goes to the loop after all, and so
    /// does what ends the program.
    fn run(&self, call_soon: &Object) -> Result<(), Raised> {
        // SAFETY: a live context, left again whatever the callback did.
        let result = unsafe {
            if ffi::PyContext_Enter(self.context.as_ptr()) < 0 {
                Raised.forget::<()>();
                return self.leave_to(call_soon);
            }
            let result = match &self.argument {
                Some(argument) => call::call(&self.callback, &[argument]),
                None => call::call(&self.callback, &[]),
            };
            if ffi::PyContext_Exit(self.context.as_ptr()) < 0 {
                return Err(Raised);
            }
            result
        };
        // The step of a task only raises what is to end the loop: `SystemExit`, `KeyboardInterrupt`.
        if let Err(raised) = result {
            let exception = raised.take(attached());
            call::call(call_soon, &[&function::bind(RAISE, &exception)?])?;
        }
        Ok(())
    }

    fn leave_to(&self, call_soon: &Object) -> Result<(), Raised> {
        let context = call::keyword_names(&["context"])?;
        let arguments: SmallVec<[&Object; 2]> =
            [&self.callback].into_iter().chain(self.argument.as_ref()).collect();
        call::call_keywords(call_soon, &arguments, &context, &[&self.context]).map(drop)
    }
}

const RAISE: &ffi::PyMethodDef = &ffi::PyMethodDef {
    ml_name: c"raise_exception".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunction: raise_exception },
    ml_flags: ffi::METH_NOARGS,
    ml_doc: std::ptr::null(),
};

unsafe extern "C" fn raise_exception(
    exception: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        // SAFETY: bound to a live exception.
        Err(Raised::restore(attached(), unsafe { Object::from_borrowed(exception) }))
    })
}

const CALL_SOON: &ffi::PyMethodDef = &ffi::PyMethodDef {
    ml_name: c"call_soon".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: call_soon },
    ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
    ml_doc: std::ptr::null(),
};

unsafe extern "C" fn call_soon(
    target: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    guarded(std::ptr::null_mut(), || {
        let count = count.cast_unsigned();
        // SAFETY: the calling convention: `count` positional arguments, then as many as `names`
        // has; bound to a list of two. Only the step of a task comes as a callback, with or without
        // a future, and a context.
        unsafe {
            let keywords =
                if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names).cast_unsigned() };
            let is_open = SLOT.with_borrow(|slot| matches!(slot, Slot::Open));
            if is_open && matches!(count, 1 | 2) && keywords == 1 {
                SLOT.replace(Slot::Full(Captured {
                    callback: Object::from_borrowed(*arguments),
                    argument: (count == 2).then(|| Object::from_borrowed(*arguments.add(1))),
                    context: Object::from_borrowed(*arguments.add(count)),
                }));
                return Ok(Object::none().into_raw());
            }
            // What somebody has put around the function when it was there comes back to it.
            let is_back = IS_PASSING_ON.replace(true);
            let next = Object::from_borrowed(ffi::PyList_GET_ITEM(target, isize::from(is_back)));
            let handle = ffi::PyObject_Vectorcall(next.as_ptr(), arguments, count, names);
            IS_PASSING_ON.set(is_back);
            Ok(handle)
        }
    })
}
