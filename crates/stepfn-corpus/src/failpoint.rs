//! Places where a test can kill the program.
//!
//! In a debug build, the environment variable `STEPFN_FAILPOINT=write:3` ends the process without any cleaning up when it comes to the place
//! `write` for the third time. A release build has none of this.

/// The places, in the order in which a shard comes to them.
pub const PLACES: [&str; 11] = [
    "count",
    "manifest-written",
    "manifest-renamed",
    "read",
    "score",
    "write",
    "finish",
    "synced",
    "length",
    "renamed",
    "folder-synced",
];

/// Ends the process here, if a test asked for it.
#[cfg(debug_assertions)]
pub fn reach(place: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static ASKED: OnceLock<Option<(String, usize)>> = OnceLock::new();
    static REACHED: AtomicUsize = AtomicUsize::new(0);
    debug_assert!(PLACES.contains(&place), "{place} is not in the list");
    let asked = ASKED.get_or_init(|| {
        let asked = std::env::var("STEPFN_FAILPOINT").ok()?;
        let (place, time) = asked.split_once(':')?;
        Some((place.to_owned(), time.parse().ok()?))
    });
    if let Some((asked, time)) = asked
        && asked == place
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *time
    {
        std::process::abort();
    }
}

/// Does nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reach(_place: &'static str) {}
