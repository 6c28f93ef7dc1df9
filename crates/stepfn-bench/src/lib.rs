//! How fast stepfn is on a machine, as a user sees it.
//!
//! A [`Workload`] is texts and what is done with them; [`mod@measure`] times it; [`operations`] says what it takes at the least, and [`machine`] what
//! the machine can do at most, measured too. A [`Report`] has all of it, and [`compare()`] puts the reports of several machines side by side.

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
pub use workload::{Question, Work, Workload};
