//! Threads of a server's process that never need the interpreter: one shows a supervisor that the
//! process is alive and sees it die, one ends a process that does not come to an end by itself.
//!
//! An application that holds the interpreter's lock for a minute keeps its worker all the same; a
//! process that is stopped, or whose machine has frozen, does not beat.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, sleep};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, getpid, kill_process};

use crate::ffi::shared::{SharedWords, shared_words};
use crate::ffi::{exit, fd};

/// How long a process may take to end by itself once its supervisor is gone.
const ORPHAN_GRACE: Duration = Duration::from_secs(1);

/// Increments `words[index]` every `interval_s` for as long as the process can run at all, and ends
/// the process when the other end of the descriptor `supervisor` is closed; see `_engine.pyi`.
#[pyfunction]
pub fn start_pulse(
    words: &Bound<'_, PyAny>,
    index: usize,
    supervisor: i32,
    interval_s: f64,
) -> PyResult<()> {
    let words = shared_words(words)?;
    if index >= words.len() {
        return Err(PyValueError::new_err(format!("there is no word `{index}`")));
    }
    let interval = seconds("interval_s", interval_s)?;
    let supervisor = fd::duplicate(supervisor)?;
    // A process that is stopped when its supervisor dies would never see it.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::CONT))
        .map_err(std::io::Error::from)?;
    Builder::new()
        .name("pronghorn-pulse".to_owned())
        .spawn(move || beat(words, index, &supervisor, interval))?;
    Ok(())
}

fn beat(words: SharedWords, index: usize, supervisor: &OwnedFd, interval: Duration) {
    let timeout = Timespec::try_from(interval).ok();
    loop {
        words[index].fetch_add(1, Ordering::Relaxed);
        // Asks for nothing: a closed connection is told of in any case.
        let mut watched = [PollFd::new(supervisor, PollFlags::empty())];
        match poll(&mut watched, timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => break,
            Err(_) => sleep(interval),
        }
    }
    let _ = kill_process(getpid(), Signal::TERM);
    sleep(ORPHAN_GRACE);
    exit::kill_all_of_us();
}

/// A thread that ends the process unless it is cancelled in time; see `_engine.pyi`.
#[pyclass(frozen, module = "pronghorn._engine")]
pub struct ExitTimer {
    is_cancelled: Arc<AtomicBool>,
}

#[pymethods]
impl ExitTimer {
    /// Leaves the process alone.
    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }
}

/// Ends the process by `signal` after `delay_s` if it has not ended by then; see `_engine.pyi`.
#[pyfunction]
pub fn exit_after(delay_s: f64, signal: i32) -> PyResult<ExitTimer> {
    let delay = seconds("delay_s", delay_s)?;
    let signal = Signal::from_named_raw(signal)
        .ok_or_else(|| PyValueError::new_err(format!("no signal has the number `{signal}`")))?;
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let timer = ExitTimer { is_cancelled: Arc::clone(&is_cancelled) };
    Builder::new().name("pronghorn-exit".to_owned()).spawn(move || {
        sleep(delay);
        if !is_cancelled.load(Ordering::Acquire) {
            exit::end_by(signal);
        }
    })?;
    Ok(timer)
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("{name} must not be negative, not `{value}`")))
}
