//! The JSON of Python's inseq 0.7 (Sarti et al. 2023, arXiv:2302.13942): what `FeatureAttributionOutput.load` reads and `.save` writes.
//!
//! An object is `{"__instance_type__": [module, class], "attributes": {…}}`; a score tensor is a safetensors file with one tensor
//! `attribution`, in base64.
//!
//! | ours | theirs |
//! |---|---|
//! | a causal text | `source` repeats the prompt; scores are `target_attributions` |
//! | `deltas` | the step score `deltas` |
//! | spaces in surfaces | `▁`, by which their `subwords` finds words |
//! | the id of a merged token | −1 |
//! | axes `hidden`; `layer`, `head`; none | the classes `Granular…`, `MultiDimensional…`, `Coarse…` |
//! | [`Provenance`](crate::Provenance) | `info`, and whole as `info.stepfn` |
//!
//! Their files have no spans and don't say which tokens are special: both are worked out from the texts in `info`. Their
//! `sequence_scores` and `step_attributions` are not read, and contrast labels are not written.

mod read;
mod tensor;
mod write;

pub use read::read;
pub use write::write;

/// The step score that holds convergence deltas.
const DELTAS: &str = "deltas";

const MODULE: &str = "inseq.data.attribution";

#[cfg(test)]
mod tests {
    use core::slice::from_ref;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::samples;
    use super::*;
    use crate::{Axis, MERGED, Scores};

    #[test]
    fn a_translation_goes_there_and_back() {
        let sample = samples::translation();
        let back = read(&write(from_ref(&sample)).unwrap()).unwrap();
        assert!(samples::same(&back[0], &sample), "{back:?}");
    }

    #[test]
    fn a_causal_text_goes_there_and_back() {
        let mut sample = samples::causal();
        let text = write(from_ref(&sample)).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let sequence = &json["attributes"]["sequence_attributions"][0];
        assert_eq!(sequence["__instance_type__"], json!([MODULE, "GranularFeatureAttributionSequenceOutput"]));
        assert_eq!(sequence["attributes"]["source"].as_array().unwrap().len(), 2, "the prompt");
        assert!(samples::same(&read(&text).unwrap()[0], &sample));

        let inner = [(Axis::Layer, 2), (Axis::Head, 2)];
        sample.target_scores = Some(Scores::filled(4, 2, &inner, |token, _, position| (token + position) as f32));
        let text = write(from_ref(&sample)).unwrap();
        assert!(text.contains("MultiDimensionalFeatureAttributionSequenceOutput"));
        assert!(samples::same(&read(&text).unwrap()[0], &sample));
    }

    #[test]
    fn what_stands_between_tokens_is_kept() {
        let token = |surface: &str, start| samples::token(3, surface, start..start + surface.len(), false);
        let mut sample = crate::Attribution::new(
            vec![token("c", 0), token("t", 2)],
            vec![token("K", 0), token("AE1", 2), token("T", 6)],
            1..3,
        );
        sample.source_text = Some("c t".to_owned());
        sample.target_text = Some("K AE1 T".to_owned());
        let causal = crate::Attribution { source: Vec::new(), source_text: None, ..sample.clone() };
        for (sample, input) in [(sample, "c t"), (causal, "K")] {
            let text = write(from_ref(&sample)).unwrap();
            let json: Value = serde_json::from_str(&text).unwrap();
            let info = &json["attributes"]["info"];
            assert_eq!((&info["generated_texts"][0], &info["input_texts"][0]), (&json!("K AE1 T"), &json!(input)));
            assert!(samples::same(&read(&text).unwrap()[0], &sample));
            // As earlier files have it.
            let earlier = text.replace("\"generated_texts\":[\"K AE1 T\"]", "\"generated_texts\":[\"KAE1T\"]");
            assert!(earlier != text && samples::same(&read(&earlier).unwrap()[0], &sample));
        }
    }

    #[test]
    fn merged_tokens_have_no_id() {
        let words = "subwords".parse::<crate::aggregation::Pipeline>().unwrap().apply(&samples::causal()).unwrap();
        let text = write(&[words]).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let token = &json["attributes"]["sequence_attributions"][0]["attributes"]["target"][1]["attributes"];
        assert_eq!(*token, json!({"id": -1, "token": "▁manager"}));
        assert_eq!(read(&text).unwrap()[0].target[1].id, MERGED);
    }

    #[test]
    fn damage_is_explained() {
        let text = write(&[samples::translation()]).unwrap();
        for (from, to, part) in [
            ("FeatureAttributionOutput\"", "Nonsense\"", "FeatureAttributionOutput"),
            ("\"attr_pos_end\":4,\"attr_pos_start\":1", "\"attr_pos_end\":9,\"attr_pos_start\":1", "steps"),
            ("\"source_attributions\":\"", "\"source_attributions\":\"*", "base64"),
            ("\"source_attributions\":\"", "\"source_attributions\":\"AAAA", "safetensors"),
            ("\"id\":20", "\"id\":\"x\"", "expected a whole number, found the text \"x\""),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let message = read(&text.replace(from, to)).unwrap_err().to_string();
            assert!(message.contains(part), "{from}: {message}");
        }
    }

    proptest! {
        #[test]
        fn numbers_go_there_and_back(sample in samples::any_output()) {
            let back = &read(&write(from_ref(&sample)).unwrap()).unwrap()[0];
            let bits = |scores: &Option<Scores>| {
                let of = |scores: &Scores| scores.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                scores.as_ref().map(|scores| (scores.shape().to_vec(), of(scores)))
            };
            prop_assert_eq!(bits(&back.source_scores), bits(&sample.source_scores));
            prop_assert_eq!(bits(&back.target_scores), bits(&sample.target_scores));
            prop_assert_eq!(back.steps.clone(), sample.steps.clone());
        }
    }
}
