//! The backward pass of a model, compared with burn's automatic differentiation, which runs once per cotangent.

use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use stepfn_models::Model;
use stepfn_models::config::DropoutRates;
use stepfn_models::tape::{InputGradients, ModelInput, StackInput, Tape};
use stepfn_models::transformer::{Dropout, Entry, Keep, NoisyPass, PaddingSide, Rule, Starts, TokenBatch};

/// Two texts of one length, and places in their targets that cotangents start at.
#[derive(Clone)]
pub struct Question {
    source: Option<TokenBatch>,
    target: TokenBatch,
    /// The places of all cotangents in a row.
    places: Vec<usize>,
    starts: Starts,
    dropout: Dropout,
    dtype: DType,
}

const SEED: u64 = 11;

impl Question {
    /// A question for any golden model.
    pub fn new<B: Backend>(model: &Model<B>, dtype: DType, dropout: bool) -> Self {
        let vocab = model.config().vocab_size;
        let batch = |texts: [&[u32]; 2]| {
            // The smallest vocabularies have fewer tokens.
            let texts = texts.map(|text| text.iter().map(|id| id % vocab as u32).collect());
            TokenBatch::new(texts.to_vec(), vocab, PaddingSide::Right).unwrap()
        };
        let rates = DropoutRates {
            embedding: Some(0.2),
            attention: Some(0.3),
            residual: Some(0.1),
            activation: Some(0.25),
            feed_forward: None,
            last: Some(0.1),
        };
        let passes = [4, 9].map(|text| NoisyPass { text, sample: 1 }).to_vec();
        Self {
            source: model.encoder().map(|_| batch([&[5, 9, 30, 7], &[44, 3, 8, 21]])),
            target: batch([&[5, 9, 30, 7, 61, 12, 50], &[44, 3, 8, 17, 50, 2, 33]]),
            places: vec![2, 5, 2, 0],
            starts: Starts::one_each(&[2, 5, 2, 0]),
            dropout: if dropout { Dropout::On { seed: SEED, passes, rates: Some(rates) } } else { Dropout::Off },
            dtype,
        }
    }

    /// The embeddings of both texts, or of the baselines.
    fn input<B: Backend>(&self, model: &Model<B>, baseline: bool) -> ModelInput<'_, B> {
        let moved = |x: Tensor<B, 2>| if baseline { x.mul_scalar(-0.3).add_scalar(0.05) } else { x };
        let source = self.source.as_ref().zip(model.encoder());
        let embedded = |batch, x| StackInput { batch, hidden: moved(x), entry: Entry::Embeddings };
        ModelInput {
            source: source.map(|(batch, encoder)| embedded(batch, encoder.embed(batch))),
            target: embedded(&self.target, model.decoder().embed(&self.target)),
            dropout: &self.dropout,
        }
    }

    /// The same question, with the same places as the starts of fewer cotangents.
    fn in_spans(&self, lens: &[usize]) -> Self {
        let mut rest = self.places.as_slice();
        let spans = lens.iter().map(|&len| {
            let (span, after) = rest.split_at(len);
            rest = after;
            span.to_vec()
        });
        let starts = Starts::new(spans.collect());
        assert_eq!(starts.rows(), self.places.len());
        Self { starts, ..self.clone() }
    }

    /// Rows of the places in the hidden states of texts of so many places, text after text.
    fn rows(&self, width: usize) -> Vec<usize> {
        let of_text = |text: usize| self.places.iter().map(move |place| text * width + place);
        (0..self.target.len()).flat_map(of_text).collect()
    }

    /// The weights of each row's logits.
    fn weights<B: Backend>(&self, vocab: usize) -> Tensor<B, 2> {
        let rows = self.target.len() * self.places.len();
        let value = |index: usize| (index as f64 * 0.7 + 0.3).sin();
        let values: Vec<f64> = (0..rows * vocab).map(value).collect();
        let data = TensorData::new(values, [rows, vocab]).convert_dtype(self.dtype);
        Tensor::from_data(data, (&Default::default(), self.dtype))
    }

    fn at_rows<B: Backend>(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let rows = self.rows(hidden.dims()[0] / self.target.len());
        Tensor::cat(rows.into_iter().map(|row| hidden.clone().slice(row..row + 1)).collect(), 0)
    }

    /// Computes all cotangents together through the tape.
    fn gradients<B: Backend>(&self, model: &Model<B>, rule: Rule, keep: Keep) -> (InputGradients<B>, [Tape<B>; 2]) {
        let tape = |baseline| model.record(self.input(model, baseline), keep, None).unwrap();
        let tapes = [tape(false), tape(true)];
        (self.back(model, rule, &tapes), tapes)
    }

    /// The backward pass through a tape, with the baseline's tape alongside.
    fn back<B: Backend>(&self, model: &Model<B>, rule: Rule, tapes: &[Tape<B>; 2]) -> InputGradients<B> {
        let hidden = tapes.each_ref().map(|tape| self.at_rows(tape.hidden().clone()));
        let weights = self.weights(model.config().vocab_size);
        let (to_hidden, to_input) = match rule {
            Rule::DeepLift { .. } => (Rule::DeepLift { baseline: &hidden[1] }, Rule::DeepLift { baseline: &tapes[1] }),
            Rule::AttnLrp => (Rule::AttnLrp, Rule::AttnLrp),
            _ => (Rule::Gradient, Rule::Gradient),
        };
        let grad = model.logits_backward(&hidden[0], to_hidden, weights).unwrap();
        model.pull_back(&tapes[0], to_input, grad, &self.starts).unwrap()
    }
}

fn values<B: Backend>(x: Tensor<B, 2>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn assert_close(what: &str, ours: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |scale, value| scale.max(value.abs()));
    assert!(scale > 1e-6, "{what}: nothing to compare");
    for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let error = (ours - expected).abs();
        assert!(error <= tolerance * scale, "{what}, element {index}: {ours} instead of {expected} (scale {scale})");
    }
}

/// Checks gradients through the tape against automatic differentiation; `tolerance` is relative to the largest gradient.
pub fn pulls_back_what_autodiff_does<B: Backend>(folder: &Path, dtype: DType, tolerance: f64, dropout: bool) {
    let device = Default::default();
    let model = Model::<B>::load(folder, dtype, &device).unwrap();
    let tracked = Model::<Autodiff<B>>::load(folder, dtype, &device).unwrap();
    let question = Question::new(&model, dtype, dropout);
    let (ours, _) = question.gradients(&model, Rule::Gradient, Keep::Everything);
    let (again, _) = question.gradients(&model, Rule::Gradient, Keep::Blocks(0));
    let what = format!("{} (dropout {dropout})", folder.display());
    let weights = question.weights::<Autodiff<B>>(model.config().vocab_size);
    let (per_text, texts) = (question.places.len(), question.target.len());
    let [mut source, mut target] = [vec![Vec::new(); texts * per_text], vec![Vec::new(); texts * per_text]];
    for (index, row) in question.rows(question.target.width()).into_iter().enumerate() {
        let mut input = question.input(&tracked, false);
        input.target.hidden = input.target.hidden.require_grad();
        let target_leaf = input.target.hidden.clone();
        let source_leaf = input.source.as_mut().map(|source| {
            source.hidden = source.hidden.clone().require_grad();
            source.hidden.clone()
        });
        let hidden = tracked.hidden(input).unwrap();
        let logits = tracked.logits(hidden.slice(row..row + 1));
        let grads = (logits * weights.clone().slice(index..index + 1)).sum().backward();
        let of_text = |leaf: &Tensor<Autodiff<B>, 2>, width: usize| {
            let grad = leaf.grad(&grads).unwrap();
            let text = index / per_text;
            values(grad.slice(text * width..(text + 1) * width))
        };
        target[index] = of_text(&target_leaf, question.target.width());
        if let (Some(leaf), Some(batch)) = (&source_leaf, &question.source) {
            source[index] = of_text(leaf, batch.width());
        }
    }
    assert_close(&format!("{what}: target"), &values(ours.target.clone()), &target.concat(), tolerance);
    assert_close(&format!("{what}: computed again"), &values(again.target), &values(ours.target), tolerance);
    if let Some(ours) = ours.source {
        assert_close(&format!("{what}: source"), &values(ours), &source.concat(), tolerance);
    }
}

/// Checks that a model has the logits of another and pulls back what it does, by every rule; `tolerance` is relative to the largest number.
pub fn computes_what_another_does<B: Backend>(
    what: &str,
    model: &Model<B>,
    other: &Model<B>,
    dtype: DType,
    tolerance: f64,
) {
    let question = Question::new(model, dtype, false);
    let logits = |model: &Model<B>| {
        let hidden = model.hidden(question.input(model, false)).unwrap();
        values(model.logits(hidden))
    };
    assert_close(&format!("{what}: logits"), &logits(model), &logits(other), tolerance);
    for (rule, name) in
        [(Rule::Gradient, "gradient"), (Rule::DeepLift { baseline: () }, "DeepLIFT"), (Rule::AttnLrp, "AttnLRP")]
    {
        if !has(model, rule) {
            continue;
        }
        let [ours, expected] = [model, other].map(|model| question.gradients(model, rule, Keep::Everything).0);
        assert_close(&format!("{what}: {name}"), &values(ours.target), &values(expected.target), tolerance);
        if let (Some(ours), Some(expected)) = (ours.source, expected.source) {
            assert_close(&format!("{what}: {name}, source"), &values(ours), &values(expected), tolerance);
        }
    }
}

/// Whether all parts of a model have a rule.
fn has<B: Backend>(model: &Model<B>, rule: Rule) -> bool {
    rule.is_gradient() || model.config().has_every_rule()
}

/// Checks that cotangents give the same gradients when the tape is cut to their positions.
pub fn first_places_are_enough<B: Backend>(folder: &Path, dtype: DType, tolerance: f64) {
    let model = Model::<B>::load(folder, dtype, &Default::default()).unwrap();
    if model.config().is_masked() {
        // Every place reads all others.
        return;
    }
    for (rule, name, dropout) in [
        (Rule::Gradient, "gradient", false),
        (Rule::Gradient, "gradient", true),
        (Rule::DeepLift { baseline: () }, "DeepLIFT", false),
        (Rule::AttnLrp, "AttnLRP", false),
    ] {
        if !has(&model, rule) {
            continue;
        }
        let question = Question::new(&model, dtype, dropout);
        let (width, seen) = (question.target.width(), question.places.iter().max().unwrap() + 1);
        assert!(seen < width);
        for keep in [Keep::Everything, Keep::Blocks(1), Keep::Blocks(0)] {
            let (all, tapes) = question.gradients(&model, rule, keep);
            let first = question.back(&model, rule, &tapes.map(|tape| tape.first(seen)));
            let what = format!("{}: {name}, {keep:?}, dropout {dropout}", folder.display());
            let [rows, size] = all.target.dims();
            let apart = all.target.reshape([rows / width, width, size]);
            let unseen = values(apart.clone().slice([0..rows / width, seen..width]).reshape([rows / width, size]));
            assert!(unseen.iter().all(|&gradient| gradient == 0.0), "{what}: gradients of positions that nothing sees");
            let expected = apart.slice([0..rows / width, 0..seen]).reshape([rows / width * seen, size]);
            assert_close(&format!("{what}: target"), &values(first.target), &values(expected), tolerance);
            if let (Some(first), Some(all)) = (first.source, all.source) {
                assert_close(&format!("{what}: source"), &values(first), &values(all), tolerance);
            }
        }
    }
}

/// A cotangent that starts at several places is the sum of those that start at one of them.
pub fn spans_are_sums<B: Backend>(folder: &Path, dtype: DType, lens: &[usize], tolerance: f64) {
    let model = Model::<B>::load(folder, dtype, &Default::default()).unwrap();
    for (rule, name, dropout) in [
        (Rule::Gradient, "gradient", false),
        (Rule::Gradient, "gradient", true),
        (Rule::DeepLift { baseline: () }, "DeepLIFT", false),
        (Rule::AttnLrp, "AttnLRP", false),
    ] {
        if !has(&model, rule) {
            continue;
        }
        let question = Question::new(&model, dtype, dropout);
        let (each, tapes) = question.gradients(&model, rule, Keep::Everything);
        let spans = question.in_spans(lens).back(&model, rule, &tapes);
        let what = format!("{}: {name}, dropout {dropout}, spans {lens:?}", folder.display());
        let (texts, per_text) = (question.target.len(), question.places.len());
        let check = |side: &str, each: Tensor<B, 2>, spans: Tensor<B, 2>| {
            let [rows, size] = each.dims();
            let one = rows * size / (texts * per_text);
            let each = values(each);
            let mut expected = Vec::new();
            for text in each.chunks(per_text * one) {
                let mut first = 0;
                for &len in lens {
                    let sum = |element: usize| (first..first + len).map(|row| text[row * one + element]).sum::<f64>();
                    expected.extend((0..one).map(sum));
                    first += len;
                }
            }
            assert_close(&format!("{what}: {side}"), &values(spans), &expected, tolerance);
        };
        check("target", each.target, spans.target);
        if let (Some(each), Some(spans)) = (each.source, spans.source) {
            check("source", each, spans);
        }
    }
}

/// Multipliers against a baseline add up: `Σ Δinput · multiplier = Δoutput` for each cotangent.
pub fn multipliers_add_up<B: Backend>(folder: &Path, dtype: DType, tolerance: f64) {
    let model = Model::<B>::load(folder, dtype, &Default::default()).unwrap();
    if !model.config().has_every_rule() {
        return;
    }
    let question = Question::new(&model, dtype, false);
    let (multipliers, tapes) = question.gradients(&model, Rule::DeepLift { baseline: () }, Keep::Blocks(0));
    let weights = question.weights(model.config().vocab_size);
    let outputs = tapes.each_ref().map(|tape| {
        let logits = model.logits(question.at_rows(tape.hidden().clone()));
        values((logits * weights.clone()).sum_dim(1))
    });
    let inputs = [false, true].map(|baseline| question.input(&model, baseline));
    let (per_text, texts) = (question.places.len(), question.target.len());
    let mut sums = vec![0.0; per_text * texts];
    let mut add = |here: Tensor<B, 2>, baseline: Tensor<B, 2>, multipliers: Tensor<B, 2>| {
        let (delta, multipliers) = (values(here - baseline), values(multipliers));
        let size = delta.len() / texts;
        for (index, sum) in sums.iter_mut().enumerate() {
            let delta = &delta[index / per_text * size..][..size];
            let multipliers = &multipliers[index * size..][..size];
            *sum += delta.iter().zip(multipliers).map(|(delta, multiplier)| delta * multiplier).sum::<f64>();
        }
    };
    let [here, baseline] = inputs;
    add(here.target.hidden, baseline.target.hidden, multipliers.target);
    if let (Some(here), Some(baseline), Some(multipliers)) = (here.source, baseline.source, multipliers.source) {
        add(here.hidden, baseline.hidden, multipliers);
    }
    let expected: Vec<f64> = outputs[0].iter().zip(&outputs[1]).map(|(here, baseline)| here - baseline).collect();
    assert_close(&format!("{}: DeepLIFT", folder.display()), &sums, &expected, tolerance);
}
