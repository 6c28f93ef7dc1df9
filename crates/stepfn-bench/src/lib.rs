//! How fast stepfn is on a machine, as a user sees it.
//!
//! A [`Workload`] is a set of texts and what to compute for them. [`mod@measure`] times it, [`operations`] computes the minimum work it
//! needs, and [`machine`] measures the machine's peak. A [`Report`] holds all of this, and [`compare()`] puts reports of several machines
//! side by side.

pub mod compare;
pub mod machine;
pub mod measure;
pub mod operations;
pub mod report;
pub mod shapes;
pub mod workload;

mod error;

pub use compare::compare;
pub use error::BenchError;
pub use report::Report;
pub use shapes::Shape;
pub use workload::{Lengths, Work, Workload};
