//! Methods against inseq, captum, lxt and an independent implementation.

use serde_json::{Value, json};
use stepfn_attribution::{AttributionMethod, Methods};
use stepfn_tests::attributions::{B, Bench, Golden, MODELS, agrees};

/// Largest allowed difference, relative to the largest score of a text.
const TOLERANCE: f32 = 1e-4;

/// Our method and parameters for a golden.
fn ours(golden: &Golden) -> Option<Box<dyn AttributionMethod<B>>> {
    let mut parameters = golden.parameters.clone();
    let name = match golden.method.as_str() {
        // The golden replaces its random point with a fixed one; ours draws its own.
        "gradient_shap" => return None,
        // All subsets of the tokens, of which there are at most eight.
        "shapley" => {
            parameters.insert("n_samples".to_owned(), json!(254));
            "kernel_shap"
        }
        name => name,
    };
    match name {
        "saliency" => parameters.insert("abs".to_owned(), json!(true)),
        "occlusion" => parameters.insert("abs".to_owned(), json!(false)),
        _ => None,
    };
    Some(Methods::default().make(name, &parameters).unwrap_or_else(|error| panic!("{name}: {error}")))
}

#[test]
fn methods_agree_with_their_references() {
    let mut compared = std::collections::BTreeMap::<String, usize>::new();
    for model in MODELS {
        let bench = Bench::new(model);
        for golden in &bench.goldens().results {
            let Some(method) = ours(golden) else { continue };
            let what = format!("{model}: {} {}", golden.method, Value::Object(golden.parameters.clone()));
            agrees(&what, &bench.run(golden, &method), golden, TOLERANCE);
            *compared.entry(golden.method.clone()).or_default() += 1;
        }
    }
    // Two texts for each of four models or more, and no method is left out.
    assert!(compared.len() == 15 && compared.values().all(|&count| count >= 8), "{compared:?}");
}

#[test]
fn step_scores_agree_with_their_references() {
    for model in MODELS {
        Bench::new(model).step_scores_agree(TOLERANCE);
    }
}
