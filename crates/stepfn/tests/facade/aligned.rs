//! The alignment that is found automatically.

use stepfn::functions::{ContrastProb, ContrastProbDiff, Probability};
use stepfn::{LanguageModel, Saliency};

#[test]
fn tokens_of_the_same_words_are_compared() {
    let model = LanguageModel::load("verse").unwrap();
    let (own, other) = ("And he did eat of the bread.", "And the king did eat of the bread.");
    let ask = || model.ask(own).contrast(other).align_auto();
    let scored = ask().score((ContrastProb::default(),)).unwrap();
    let compared = scored.values("contrast_prob").unwrap();
    // Whatever the alignment is, a number is the probability of a token of the other text in its own context.
    let others = model.ask(other).score((Probability::default(),)).unwrap();
    let known = others.values("probability").unwrap();
    assert!(compared.iter().filter(|value| !value.is_nan()).count() >= 4, "{compared:?}");
    for value in compared.iter().filter(|value| !value.is_nan()) {
        assert!(known.iter().any(|known| (known - value).abs() < 1e-6), "{value} of {known:?}");
    }
    // The bread is the bread, though it is a token later.
    let at = |scored: &stepfn::ScoredText| scored.tokens().iter().position(|token| token.surface == " bread").unwrap();
    assert!((compared[at(&scored)] - known[at(&others)]).abs() < 1e-6);
    let answer =
        ask().function(ContrastProbDiff::default()).contrast_force_inputs().attribute(Saliency::default()).unwrap();
    let partners: Vec<Option<&str>> =
        answer.contrast.iter().map(|token| token.as_ref().map(|token| token.surface.as_str())).collect();
    assert_eq!(partners[at(&scored)], Some(" bread"));
    // The same text is compared one by one.
    let same = model.ask(own).contrast(own).align_auto().score((ContrastProb::default(),)).unwrap();
    let plain = model.ask(own).score((Probability::default(),)).unwrap();
    assert_eq!(same.values("contrast_prob"), plain.values("probability"));
}

#[test]
fn another_model_or_layer_aligns() {
    let encoder = LanguageModel::load("g2p").unwrap();
    let layers = encoder.config().encoder.as_ref().unwrap().n_layers;
    let error = LanguageModel::load("g2p").unwrap().aligned_at(layers + 1).unwrap_err();
    assert_eq!(
        error.what(),
        format!("texts are to be aligned behind block {}, and the model that aligns has {layers}", layers + 1)
    );
    assert!(encoder.aligned_at(0).is_err());
    let partners = |model: &LanguageModel| {
        let asked = model.ask("And he did eat bread.").contrast("The king did eat bread and flesh.").align_auto();
        let answer = asked.function(ContrastProbDiff::default()).attribute(Saliency::default()).unwrap();
        answer.contrast.iter().map(|token| token.as_ref().map(|token| token.surface.clone())).collect::<Vec<_>>()
    };
    let verse = || LanguageModel::load("verse").unwrap();
    let own = partners(&verse());
    let first = partners(&verse().aligned_at(1).unwrap());
    assert_ne!(own.iter().flatten().count(), 0);
    assert_eq!(first, partners(&verse().aligned_by(verse()).aligned_at(1).unwrap()));
    assert!(
        verse()
            .aligned_by(LanguageModel::load("g2p").unwrap())
            .ask(" ")
            .contrast("x")
            .align_auto()
            .score((ContrastProb::default(),))
            .is_err()
    );
}
