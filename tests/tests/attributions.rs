//! Methods against inseq, captum, lxt and an independent implementation.

use serde_json::{Map, Value, json};
use stepfn_attribution::Method;
use stepfn_tests::attributions::{Bench, Golden, MODELS, agrees};

/// Largest difference, of the greatest score of a text.
const TOLERANCE: f32 = 1e-4;

/// The method and parameters of ours that a golden's are.
fn ours(golden: &Golden) -> Option<Method> {
    let mut parameters = golden.parameters.clone();
    let name = match golden.method.as_str() {
        // Its random point is fixed: integrated gradients at one point are the same.
        "gradient_shap" => return None,
        name => name,
    };
    if name == "saliency" {
        parameters.insert("abs".to_owned(), json!(true));
    }
    stepfn_attribution::methods().iter().any(|method| method.name == name).then_some(())?;
    Some(Method::make(name, &parameters).unwrap_or_else(|error| panic!("{name}: {error}")))
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
    assert!(compared.values().all(|&count| count >= 8), "{compared:?}");
    assert!(Method::make("dummy", &Map::new()).is_ok());
}

#[test]
fn step_scores_agree_with_their_references() {
    for model in MODELS {
        Bench::new(model).step_scores_agree(TOLERANCE);
    }
}
