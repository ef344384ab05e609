//! The only unsafe code: CPython objects as owned values, and native types with raw slots.
//!
//! PyO3's `Py` must not be dropped where PyO3 does not know that the thread is attached, which is
//! the case inside raw slots; so the hot path has its own owned reference, `Object`. Everything
//! here runs on an attached thread, and objects never leave it (`Object` is not `Send`).

/// An owned reference.
pub mod object;
/// The raised exception, as a value.
pub mod error;
/// Interned strings and other constants.
pub mod names;
/// `bytes` and `str`.
pub mod text;
/// `bytes`, held by who knows no objects.
pub mod kept;
/// `bytes` in the making.
pub mod growing;
/// `dict`, `list` and `tuple`.
pub mod containers;
/// Dictionaries that are read once.
pub mod entries;
/// Dictionaries that each request gets one of.
pub mod recurring;
/// Calls.
pub mod call;
/// Native types whose instances can be awaited.
pub mod native;
/// The engine's memory, shown to a call.
pub mod window;
/// Builtin functions bound to an instance of a native type.
pub mod function;
/// A task's first step, taken away from the loop.
pub mod capture;
/// The set of all tasks, made cheap to be entered.
pub mod all_tasks;
/// Descriptors that Python owns.
pub mod fd;
/// How often the process has been forked.
pub mod forks;
/// Several sends with one system call.
pub mod ring;
/// State that belongs to one thread.
pub mod owner;
/// Memory that several processes share.
pub mod shared;
/// The end of the process.
pub mod exit;
/// Version tags of classes.
pub mod version;
/// Places that hold objects, with what was in them.
pub mod places;
