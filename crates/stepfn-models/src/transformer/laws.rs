//! The laws that every part is held to.
//!
//! | law | what it says |
//! |---|---|
//! | one function | `forward`, `record` and the lifted `forward` compute the same |
//! | gradient | `backward` is automatic differentiation of `forward` |
//! | first places | the tape cut to the first places is the tape of a pass over them |
//! | together | cotangents pulled back together are those pulled back one by one |
//! | at rows | cotangents at some places are the same cotangents among zeros at all places |
//! | DeepLIFT | multipliers add up: `Σ Δin · multiplier = Δout` |
//! | AttnLRP | relevance is finite and linear in the cotangent; where the paper says so, it is conserved |
//!
//! Relevance `Σ in · modified gradient` is conserved by linear layers, normalizations and nonlinearities, up to what their biases take, and by
//! products that give half to each factor (Achtibat et al. 2024, arXiv:2402.05602, §3). It is not by the softmax of attention, whose rule is a
//! Taylor expansion with a remainder.
//!
//! To hold a new part to them, make a [`Case`] of it and [`check`] that.

mod blocks;
mod encoders;
mod parts;
mod toys;

use burn::tensor::{DType, Tensor, TensorData};
use stepfn_kernels::Cotangents;

use super::front::{Front, Gradients, Starts};
use super::part::{Inputs, Of, Part, by_autodiff};
use super::places::Places;
use super::rule::{Rule, Saved};
use crate::random::SplitMix64;

type B = stepfn_cpu::flex::Backend;

/// Cotangents of each text.
const PER_TEXT: usize = 3;

/// A part, and something for it to read.
struct Case<P: Part<B>> {
    /// What failures call it.
    name: String,
    part: P,
    around: P::Around,
    /// What the part reads.
    x: Of<B, P, Tensor<B, 2>>,
    texts: usize,
    /// Places of padding, whose results mean nothing: `(text, place)`.
    padding: Vec<(usize, usize)>,
    /// How many first places a pass can be cut to, and what surrounds the part there; `None` if places read later ones.
    first: Option<(usize, P::Around)>,
    /// Whether it has rules besides the gradient.
    has_rules: bool,
    /// Whether AttnLRP conserves relevance up to what biases take.
    conserves: bool,
    /// The greatest number that the part multiplies by. Where softmax is peaked, terms as large as this cancel, and what remains is their rounding.
    largest: f64,
}

impl<P: Part<B>> Case<P> {
    /// A part that treats every row by itself.
    fn rowwise(name: String, part: P, around: P::Around, x: Of<B, P, Tensor<B, 2>>, texts: usize) -> Self {
        Self {
            name,
            part,
            around,
            x,
            texts,
            padding: vec![],
            first: None,
            has_rules: true,
            conserves: false,
            largest: 1.0,
        }
    }

    fn split(&self, x: Of<B, P, Tensor<B, 2>>) -> Vec<Tensor<B, 2>> {
        let (x, memory) = P::Inputs::split(x);
        [Some(x), memory].into_iter().flatten().collect()
    }

    /// Another input, far enough away.
    fn baseline(&self) -> Of<B, P, Tensor<B, 2>> {
        let moved = |x: Tensor<B, 2>| x.mul_scalar(-0.3).add_scalar(0.05);
        let (x, memory) = P::Inputs::split(self.x.clone());
        P::Inputs::join(moved(x), memory.map(moved))
    }

    /// What numbers are compared with at least.
    fn least(&self) -> f64 {
        1e-3 * self.largest
    }

    fn width(&self) -> usize {
        self.split(self.x.clone())[0].dims()[0] / self.texts
    }

    /// Cotangents at these places of each text, `[texts · places, size]`.
    fn cotangents(&self, seed: u64, places: &[usize]) -> Tensor<B, 2> {
        let [_, size] = self.part.forward(self.x.clone(), &self.around).dims();
        let rows: Vec<(usize, usize)> =
            (0..self.texts).flat_map(|text| places.iter().map(move |&place| (text, place))).collect();
        let alive = rows.iter().flat_map(|row| vec![if self.padding.contains(row) { 0.0 } else { 1.0 }; size]);
        let alive = tensor(alive.collect(), [rows.len(), size]);
        random(seed, [rows.len(), size]) * alive
    }

    /// Cotangents at all of the first `width` places.
    fn everywhere(&self, seed: u64, width: usize) -> Tensor<B, 2> {
        let places: Vec<usize> = (0..PER_TEXT).flat_map(|_| 0..width).collect();
        self.cotangents(seed, &places)
    }

    /// The rules that the part has, by name.
    fn rules<'a>(&self, baseline: &'a P::Tape) -> Vec<Rule<&'a P::Tape>> {
        match self.has_rules {
            true => vec![Rule::Gradient, Rule::AttnLrp, Rule::DeepLift { baseline }],
            false => vec![Rule::Gradient],
        }
    }

    /// Gradients of all inputs, at all places.
    fn back(&self, tape: &P::Tape, rule: Rule<&P::Tape>, around: &P::Around, grad: Gradients<B>) -> Vec<Vec<f64>> {
        let to = self.part.backward(Saved::new(tape, rule), around, grad).unwrap();
        gradients::<P>(to)
    }

    fn all(&self, grad: Tensor<B, 2>) -> Gradients<B> {
        Gradients::new(grad, Front::All(Cotangents { texts: self.texts, per_text: PER_TEXT }))
    }
}

/// Holds a part to all laws.
fn check<P: Part<B>>(case: &Case<P>) {
    let (output, tape) = case.part.record(case.x.clone(), &case.around);
    let (baseline_output, baseline) = case.part.record(case.baseline(), &case.around);
    one_function(case, &output);
    gradient(case, &tape);
    for rule in case.rules(&baseline) {
        first_places(case, &tape, rule);
        together(case, &tape, rule);
        at_rows(case, &tape, rule);
    }
    if case.has_rules {
        multipliers_add_up(case, (&tape, output.clone()), (&baseline, baseline_output));
        relevance(case, &tape, output);
    }
}

fn one_function<P: Part<B>>(case: &Case<P>, output: &Tensor<B, 2>) {
    let (x, memory) = P::Inputs::split(case.x.clone());
    let lifted = |x: Tensor<B, 2>| Tensor::from_inner(x);
    let lifted_x = P::Inputs::join(lifted(x), memory.map(lifted));
    let lifted = super::part::Forward::forward(&case.part.lift(), lifted_x, &P::lift_around(&case.around)).inner();
    let plain = case.part.forward(case.x.clone(), &case.around);
    for (what, found) in [("forward", plain), ("lifted", lifted)] {
        let what = format!("{}, {what} and record", case.name);
        let rows = |x: Tensor<B, 2>| {
            let [_, size] = x.dims();
            let padding = |row: usize| case.padding.contains(&(row / case.width(), row % case.width()));
            let rows = values(x).chunks(size).map(<[f64]>::to_vec).enumerate().collect::<Vec<_>>();
            rows.into_iter().filter(|(row, _)| !padding(*row)).flat_map(|(_, row)| row).collect::<Vec<f64>>()
        };
        assert_close(&what, &rows(found), &rows(output.clone()), 1e-9, case.least());
    }
}

fn gradient<P: Part<B>>(case: &Case<P>, tape: &P::Tape) {
    let grad = case.all(case.everywhere(1, case.width()));
    let ours = case.back(tape, Rule::Gradient, &case.around, grad.clone());
    let expected = gradients::<P>(by_autodiff(&case.part, case.x.clone(), &case.around, grad));
    assert_all_close(&format!("{}, gradient", case.name), &ours, &expected, 1e-9, case.least());
}

fn first_places<P: Part<B>>(case: &Case<P>, tape: &P::Tape, rule: Rule<&P::Tape>) {
    let Some((count, around)) = &case.first else { return };
    let places = Places::first(*count, case.texts, case.width(), &Default::default());
    let cut = |x: Of<B, P, Tensor<B, 2>>| {
        let (x, memory) = P::Inputs::split(x);
        P::Inputs::join(places.of(&x), memory)
    };
    let record = |x| case.part.record(cut(x), around).1;
    let (fresh, fresh_baseline) = (record(case.x.clone()), record(case.baseline()));
    let fresh_rule = rule.map(|_| &fresh_baseline);
    let cut_rule = rule.map(|baseline| P::first(baseline, &places));
    let grad = || case.all(case.everywhere(2, *count));
    let ours = case.back(&P::first(tape, &places), cut_rule.map(|baseline| baseline), around, grad());
    let expected = case.back(&fresh, fresh_rule, around, grad());
    assert_all_close(&format!("{}, first places, {}", case.name, rule.name()), &ours, &expected, 1e-9, case.least());
}

fn together<P: Part<B>>(case: &Case<P>, tape: &P::Tape, rule: Rule<&P::Tape>) {
    let grad = case.everywhere(3, case.width());
    let ours = case.back(tape, rule, &case.around, case.all(grad.clone()));
    let [rows, size] = grad.dims();
    let apart = grad.reshape([case.texts, PER_TEXT, rows / (case.texts * PER_TEXT), size]);
    let alone: Vec<Vec<Vec<f64>>> = (0..PER_TEXT)
        .map(|cotangent| {
            let one = apart.clone().slice_dim(1, cotangent..cotangent + 1).reshape([rows / PER_TEXT, size]);
            let front = Front::All(Cotangents::one_each(case.texts));
            case.back(tape, rule, &case.around, Gradients::new(one, front))
        })
        .collect();
    let join = |input: usize| {
        let one = alone[0][input].len() / case.texts;
        let of_text = |text: usize| alone.iter().flat_map(move |found| found[input][text * one..][..one].to_vec());
        (0..case.texts).flat_map(of_text).collect::<Vec<f64>>()
    };
    let expected: Vec<Vec<f64>> = (0..ours.len()).map(join).collect();
    assert_all_close(&format!("{}, together, {}", case.name, rule.name()), &ours, &expected, 1e-9, case.least());
}

fn at_rows<P: Part<B>>(case: &Case<P>, tape: &P::Tape, rule: Rule<&P::Tape>) {
    let last = case.width() - 1;
    let one_each = Starts::one_each(&[last, 0, last / 2]);
    let several = Starts::new(vec![vec![last, 0], vec![last], vec![last / 2]]);
    for starts in [one_each, several] {
        let rows = case.cotangents(4, &starts.places().concat());
        let front = Front::new(&starts, case.texts, case.width(), &Default::default());
        let (spread, cotangents) = Gradients::new(rows.clone(), front.clone()).everywhere();
        let ours = case.back(tape, rule, &case.around, Gradients::new(rows, front));
        let expected = case.back(tape, rule, &case.around, Gradients::new(spread, Front::All(cotangents)));
        let what = format!("{}, at rows {:?}, {}", case.name, starts.places(), rule.name());
        assert_all_close(&what, &ours, &expected, 1e-9, case.least());
    }
}

fn multipliers_add_up<P: Part<B>>(
    case: &Case<P>,
    (tape, output): (&P::Tape, Tensor<B, 2>),
    (baseline, baseline_output): (&P::Tape, Tensor<B, 2>),
) {
    let grad = case.everywhere(5, case.width());
    let multipliers = case.back(tape, Rule::DeepLift { baseline }, &case.around, case.all(grad.clone()));
    let inputs = case.split(case.x.clone()).into_iter().zip(case.split(case.baseline()));
    let deltas: Vec<Vec<f64>> = inputs.map(|(here, baseline)| values(here - baseline)).collect();
    let found = case.summed(&deltas, &multipliers);
    let expected = case.summed(&[values(output - baseline_output)], &[values(grad)]);
    // The slope of small differences is that halfway, which is not exact.
    assert_close(&format!("{}, DeepLIFT", case.name), &found, &expected, 1e-4, case.least());
}

fn relevance<P: Part<B>>(case: &Case<P>, tape: &P::Tape, output: Tensor<B, 2>) {
    let (one, other) = (case.everywhere(6, case.width()), case.everywhere(7, case.width()));
    let back = |grad| case.back(tape, Rule::AttnLrp, &case.around, case.all(grad));
    let ours = back(one.clone() + other.clone().mul_scalar(2));
    let expected = back(one.clone())
        .into_iter()
        .zip(back(other))
        .map(|(one, other)| one.into_iter().zip(other).map(|(one, other)| one + 2.0 * other).collect::<Vec<f64>>());
    let expected: Vec<Vec<f64>> = expected.collect();
    assert!(ours.iter().flatten().all(|value| value.is_finite()), "{}: relevance that is not finite", case.name);
    assert_all_close(&format!("{}, AttnLRP is linear", case.name), &ours, &expected, 1e-9, case.least());
    if case.conserves {
        let (x, memory) = P::Inputs::split(case.x.clone());
        let zeros = P::Inputs::join(x.zeros_like(), memory.map(|memory| memory.zeros_like()));
        let biases = case.part.forward(zeros, &case.around);
        let inputs: Vec<Vec<f64>> = case.split(case.x.clone()).into_iter().map(values).collect();
        let found = case.summed(&inputs, &back(one.clone()));
        let expected = case.summed(&[values(output - biases)], &[values(one)]);
        assert_close(&format!("{}, AttnLRP conserves", case.name), &found, &expected, 1e-5, case.least());
    }
}

impl<P: Part<B>> Case<P> {
    /// `Σ x · gradient` of each text and cotangent, over all tensors.
    fn summed(&self, x: &[Vec<f64>], gradients: &[Vec<f64>]) -> Vec<f64> {
        let mut sums = vec![0.0; self.texts * PER_TEXT];
        for (x, gradients) in x.iter().zip(gradients) {
            let size = x.len() / self.texts;
            for (index, sum) in sums.iter_mut().enumerate() {
                let x = &x[index / PER_TEXT * size..][..size];
                *sum += x.iter().zip(&gradients[index * size..][..size]).map(|(x, gradient)| x * gradient).sum::<f64>();
            }
        }
        sums
    }
}

fn gradients<P: Part<B>>(to: Of<B, P, Gradients<B>>) -> Vec<Vec<f64>> {
    let (x, memory) = P::Inputs::split(to);
    [Some(x), memory].into_iter().flatten().map(|grad| values(grad.everywhere().0)).collect()
}

fn values(x: Tensor<B, 2>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn tensor(values: Vec<f64>, shape: [usize; 2]) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(values, shape), (&Default::default(), DType::F64))
}

/// Random numbers between −1 and 1.
fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut random = SplitMix64::stream(seed, 0);
    core::iter::repeat_with(|| 2.0 * random.uniform() - 1.0).take(count).collect()
}

fn random(seed: u64, shape: [usize; 2]) -> Tensor<B, 2> {
    tensor(noise(seed, shape[0] * shape[1]), shape)
}

fn assert_all_close(what: &str, ours: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64, least: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}: gradients of other inputs");
    for (input, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        assert_close(&format!("{what}, input {input}"), ours, expected, tolerance, least);
    }
}

/// Relative to the largest of them, and to no less than `least`.
fn assert_close(what: &str, ours: &[f64], expected: &[f64], tolerance: f64, least: f64) {
    assert_eq!(ours.len(), expected.len(), "{what}: other sizes");
    let scale = expected.iter().fold(least, |scale, value| scale.max(value.abs()));
    for (index, (ours, expected)) in ours.iter().zip(expected).enumerate() {
        let error = (ours - expected).abs();
        assert!(error <= tolerance * scale, "{what}, element {index}: {ours} instead of {expected} (scale {scale})");
    }
}
