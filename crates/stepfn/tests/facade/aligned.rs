//! The alignment that is found automatically.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use stepfn::functions::{ContrastProb, ContrastProbDiff, Probability};
use stepfn::{AttributeContextTask, Input, LanguageModel, LoadOptions, Saliency};

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

/// BERT as an encoder of sentences: without the head that predicts tokens, with a pooler, its names without `bert.`, in the folder of its first module.
fn encoder_of_sentences(folder: &Path) {
    let replica = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/replicas/bert");
    let inner = folder.join("0_Transformer");
    fs::create_dir(&inner).unwrap();
    for entry in fs::read_dir(&replica).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, inner.join(path.file_name().unwrap())).unwrap();
    }
    let bytes = fs::read(replica.join("model.safetensors")).unwrap();
    let whole = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<(String, TensorView<'_>)> = whole.tensors();
    tensors.retain(|(name, _)| !name.starts_with("cls."));
    tensors.iter_mut().for_each(|(name, _)| *name = name.trim_start_matches("bert.").to_owned());
    let made = safetensors::serialize(tensors, None).unwrap();
    fs::write(inner.join("model.safetensors"), made).unwrap();
    let modules = r#"[{"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
    fs::write(folder.join("modules.json"), modules).unwrap();
}

#[test]
fn an_encoder_of_sentences_aligns_as_the_model_it_was_made_of() {
    let folder = tempfile::tempdir().unwrap();
    encoder_of_sentences(folder.path());
    let name = folder.path().to_str().unwrap();
    let error = LanguageModel::load(name).unwrap_err();
    assert!(error.to_string().contains("with the weights of its head"), "{error}");
    let options = LoadOptions { for_states: true, ..LoadOptions::default() };
    let replica = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/replicas/bert");
    let partners = |aligner: LanguageModel| {
        let model = LanguageModel::load("verse").unwrap().aligned_by(aligner);
        let asked = model.ask("the ship sails at dawn").contrast("at dawn the big ship sails").align_auto();
        let answer = asked.function(ContrastProbDiff::default()).attribute(Saliency::default()).unwrap();
        answer.contrast.iter().map(|token| token.as_ref().map(|token| token.surface.clone())).collect::<Vec<_>>()
    };
    let found = partners(LanguageModel::load_with(name, &options).unwrap());
    assert_ne!(found.iter().flatten().count(), 0);
    assert_eq!(found, partners(LanguageModel::load(replica.to_str().unwrap()).unwrap()));
}

/// An encoder–decoder writes context and current text as one, and what is aligned with the input's context is the output's.
#[test]
fn what_an_encoder_decoder_writes_is_divided_where_the_context_of_its_input_ends() {
    let model = LanguageModel::load("g2p").unwrap();
    let input = Input { source: Some("dog".to_owned()), input_context: Some("cat".to_owned()), ..Input::default() };
    let template = |text: &str| Some(text.to_owned());
    let task = AttributeContextTask {
        input_template: template("{context} {current}"),
        output_template: template("{context} {current}"),
        ..AttributeContextTask::default()
    };
    let whole = model.ask("cat dog").generate().unwrap().remove(0).text;
    let found = model.attribute_context(input.clone(), &task).unwrap();
    let context = found.output_context.clone().unwrap();
    assert!(
        whole.starts_with(&context) && whole.ends_with(&found.output_current),
        "{whole}: {context} | {}",
        found.output_current
    );
    let warning = found.about.warnings.iter().find(|warning| warning.contains("was taken to be")).unwrap();
    assert!(warning.contains(&whole) && warning.contains(&context), "{warning}");
    // Given, it is the same.
    let given = Input { output_context: Some(context), target: Some(found.output_current.clone()), ..input };
    let given = model.attribute_context(given, &task).unwrap();
    assert_eq!(given.cti_scores, found.cti_scores);
}
