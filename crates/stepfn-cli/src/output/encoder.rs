//! Results as the bytes of a file.

use stepfn::Outcome;
use stepfn::destination::Way;
use stepfn::writers::Writer;

use crate::failure::Failure;

/// Makes bytes of results: text with a [`Writer`], or something else.
pub(crate) trait Encoder<T>: Send {
    /// What to append for the result of a text.
    fn encode(&mut self, outcome: &Outcome<T>) -> Result<Vec<u8>, Failure>;

    /// What to append after the last result.
    fn end(&mut self) -> Result<Vec<u8>, Failure>;

    /// How the file grows.
    fn way(&self) -> Way {
        Way::Whole
    }

    /// Whether each text needs a file of its own.
    fn is_one_file_each(&self) -> bool {
        false
    }
}

impl<T> Encoder<T> for Box<dyn Writer<T>> {
    fn encode(&mut self, outcome: &Outcome<T>) -> Result<Vec<u8>, Failure> {
        Ok((**self).write(outcome)?.into_bytes())
    }

    fn end(&mut self) -> Result<Vec<u8>, Failure> {
        Ok((**self).finish()?.into_bytes())
    }

    fn way(&self) -> Way {
        (**self).way()
    }

    fn is_one_file_each(&self) -> bool {
        (**self).is_one_file_each()
    }
}
