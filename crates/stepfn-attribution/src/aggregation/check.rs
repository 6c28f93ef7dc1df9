//! What of a pipeline can't be, told before the scores are computed.

use stepfn_models::config::TransformerConfig;
use stepfn_models::tokenizer::Token;

use super::{Pipeline, Stage};
use crate::{Attribution, AttributionError, Axis, Scores};

impl Pipeline {
    /// Checks that scores of this model can have the axes that stages use. `inner` are the axes that the method's scores have after token and
    /// step, if that is known.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), if it would fail whatever the scores are.
    pub fn check_axes(&self, config: &TransformerConfig, inner: Option<&[Axis]>) -> Result<(), AttributionError> {
        /// What methods keep, and what your own might.
        const KEPT: [&[Axis]; 6] = [
            &[Axis::Hidden],
            &[Axis::Layer, Axis::Head],
            &[Axis::Layer],
            &[],
            &[Axis::Layer, Axis::Hidden],
            &[Axis::Layer, Axis::Head, Axis::Hidden],
        ];
        let is_of_axes =
            |stage: &&Stage| matches!(stage, Stage::Reduce { .. } | Stage::Select { .. } | Stage::Normalize);
        let of_axes = Self(self.0.iter().filter(is_of_axes).cloned().collect());
        let stacks = || config.encoder.iter().chain([&config.decoder]);
        let size = |axis: &Axis| match axis {
            Axis::Layer => stacks().map(|stack| stack.n_layers).max().unwrap_or(1),
            Axis::Head => stacks().map(|stack| stack.attention.n_heads).max().unwrap_or(1),
            _ => config.hidden_size,
        };
        // One token that is predicted from one.
        let token = |at: usize| Token { id: 0, surface: String::new(), span: at..at, special: false };
        let mut attribution = Attribution::new(Vec::new(), vec![token(0), token(0)], 1..2);
        let mut apply = |inner: &[Axis]| {
            let inner: Vec<(Axis, usize)> = inner.iter().map(|axis| (*axis, size(axis))).collect();
            attribution.target_scores = Some(Scores::filled(2, 1, &inner, |_, _, _| 1.0));
            of_axes.apply(&attribution).map(drop)
        };
        if let Some(inner) = inner {
            return apply(inner);
        }
        // The axis that is used first says which scores are meant.
        let used = self.0.iter().find_map(|stage| match stage {
            Stage::Reduce { axis: Some(axis), .. } | Stage::Select { axis, .. } => Some(*axis),
            _ => None,
        });
        let results = KEPT.map(|inner| (used.is_none_or(|used| inner.contains(&used)), apply(inner)));
        if results.iter().any(|(_, result)| result.is_ok()) {
            return Ok(());
        }
        let meant = results.iter().find(|(is_meant, _)| *is_meant).or(results.first());
        meant.map_or(Ok(()), |(_, result)| result.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_scores_of_a_model_could_have_is_an_error() {
        let config = json!({
            "model_type": "gpt2", "n_layer": 3, "n_head": 2, "n_embd": 8, "n_positions": 16, "vocab_size": 10,
        });
        let config = stepfn_models::families::of(&config).unwrap().configure(&config).unwrap();
        let check = |text: &str, inner: Option<&[Axis]>| text.parse::<Pipeline>().unwrap().check_axes(&config, inner);
        for text in [
            "layers=0:3,mean,mean",
            "heads=1,mean(layer),mean",
            "vnorm,normalize,subwords",
            "hidden=7",
            "spans(source=0:9)",
        ] {
            assert_eq!(check(text, None), Ok(()), "{text}");
        }
        for (text, says) in
            [("layers=3", "3"), ("heads=0:3", "3"), ("hidden=8", "8"), ("mean,mean,mean,mean", "hidden")]
        {
            let error = check(text, None).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(check("vnorm", Some(&[])).is_err() && check("normalize", Some(&[])).is_ok());
    }
}
