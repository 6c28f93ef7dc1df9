//! Whether a text fits on the device at all, before anything is computed.

use burn::tensor::backend::Backend;
use stepfn_attribution::Text;

use crate::{Error, ErrorKind, LanguageModel, Result};

/// Checks that what the model keeps of each token while it reads a text fits into the memory of the device.
///
/// # Errors
/// [`ErrorKind::Text`] if not.
pub(crate) fn check<B: Backend>(model: &LanguageModel<B>, text: &Text) -> Result<()> {
    let contrast = text.contrast.as_ref();
    let sources = [text.source.as_ref(), contrast.and_then(|contrast| contrast.source.as_ref())];
    let targets = [Some(&text.target), contrast.map(|contrast| &contrast.target)];
    let longest = sources.into_iter().chain(targets).flatten().map(Vec::len).max().unwrap_or(0);
    check_tokens(longest, model.config().floats_per_token(), model.device().memory)
}

fn check_tokens(tokens: usize, floats_per_token: usize, memory: Option<u64>) -> Result<()> {
    /// Bytes per number, in single precision.
    const FLOAT: u64 = 4;
    let needed = (tokens as u64).saturating_mul(floats_per_token as u64).saturating_mul(FLOAT);
    match memory.filter(|&memory| needed > memory) {
        None => Ok(()),
        Some(memory) => {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let what = format!(
                "a text of {tokens} tokens needs {:.1} GiB of memory, and the device has {:.1} GiB",
                gib(needed),
                gib(memory)
            );
            Err(Error::new(ErrorKind::Text, what, "split the text, or use a smaller model"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_no_device_could_read_is_refused_and_all_others_run() {
        assert!(check_tokens(1000, 100_000, Some(16 << 30)).is_ok());
        assert!(check_tokens(1_000_000, 100_000, None).is_ok());
        let error = check_tokens(1_000_000, 100_000, Some(16 << 30)).unwrap_err();
        assert_eq!(error.what(), "a text of 1000000 tokens needs 372.5 GiB of memory, and the device has 16.0 GiB");
        assert!(check_tokens(usize::MAX, usize::MAX, Some(1)).is_err());
    }
}
