//! What the program asks of the system before it does anything: to be told of a file that can't grow, and whether standard output is there.

use crate::failure::Failure;

/// From now on, writing beyond the greatest size of files (`ulimit -f`) is an error, as on a full disk. The system would end the program, in
/// the middle of a record.
pub(crate) fn take_no_file_limit_for_death() {
    #[cfg(unix)]
    #[allow(unsafe_code, reason = "the standard library has no signals")]
    // SAFETY: ignoring a signal runs no code of ours, whatever is running.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Checks that there is a standard output. Where the shell closed it (`>&-`), the standard library has put the device in its place that takes
/// everything and keeps nothing.
pub(crate) fn check_output() -> Result<(), Failure> {
    match at_start::was_closed() {
        true => Err(Failure::work("standard output: it is closed", "leave it open, or write to a file with -o")),
        false => Ok(()),
    }
}

/// What was there before the standard library looked after it.
#[cfg(target_os = "linux")]
mod at_start {
    use core::sync::atomic::{AtomicBool, Ordering};

    static IS_CLOSED: AtomicBool = AtomicBool::new(false);

    extern "C" fn look() {
        #[allow(unsafe_code, reason = "the standard library has no descriptors of files that are not open")]
        // SAFETY: asking for the flags of a descriptor changes nothing, and is allowed for one that is not open.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        IS_CLOSED.store(flags == -1, Ordering::Relaxed);
    }

    #[allow(unsafe_code, reason = "the only way to run before the standard library opens what is closed")]
    // SAFETY: the system calls what is in this section once, before `main`, with arguments that `look` ignores. It uses nothing of the standard
    // library that would have to be set up.
    #[unsafe(link_section = ".init_array")]
    #[used]
    static LOOK: extern "C" fn() = look;

    pub(super) fn was_closed() -> bool {
        IS_CLOSED.load(Ordering::Relaxed)
    }
}

/// Elsewhere it is not known.
#[cfg(not(target_os = "linux"))]
mod at_start {
    pub(super) fn was_closed() -> bool {
        false
    }
}
