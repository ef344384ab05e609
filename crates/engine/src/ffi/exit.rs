//! Ends the process without the interpreter.

use rustix::process::{Signal, getpid, kill_process, kill_process_group};

/// Ends the process as this signal does by default; `SIGINT` stands for an end that was asked for
/// and has the code 0.
pub fn end_by(signal: Signal) {
    if signal == Signal::INT {
        // SAFETY: ends the process at once, whatever its other threads do.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: only changes what the process does about a signal that is about to end it.
    unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
    let _ = kill_process(getpid(), signal);
    // Process 1 of a container is spared by its own signals.
    // SAFETY: as above.
    unsafe { libc::_exit(128 + signal.as_raw()) };
}

/// Kills the process, and with it those that it leads.
pub fn kill_all_of_us() {
    let me = getpid();
    if rustix::process::getpgrp() == me {
        let _ = kill_process_group(me, Signal::KILL);
    }
    let _ = kill_process(me, Signal::KILL);
}
