//! A mixture of experts: a router sends each token to a few of many feed-forwards, and adds up what they say (Shazeer et al. 2017,
//! arXiv:1701.06538), `Σ w_e(x) · expert_e(x)`.
//!
//! Which experts a token goes to is piecewise constant. Derivatives take that choice as given, as automatic differentiation does, and go through
//! the weights of the chosen experts and through the experts themselves.
//!
//! There are no other rules than the gradient: DeepLIFT compares two passes, whose tokens may go to different experts, and AttnLRP's rule for a
//! product that chooses its factors is not published.

use burn::backend::Autodiff;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, backend::Backend};
use stepfn_kernels::{Cotangents, narrowed, widened};

use super::Linear;
use super::feed_forward::{FeedForward, FeedForwardTape};
use super::front::{Gradients, scaled};
use super::part::{Forward, One, Part};
use super::places::Places;
use super::rule::{Rule, Saved};
use super::tokens::indices;
use crate::ModelError;
use crate::config::{ExpertsConfig, FeedForwardConfig, SharedExpert, Weighing};
use crate::parameters::Parameters;

/// A router and its experts.
#[derive(Debug, Clone)]
pub(crate) struct Experts<B: Backend> {
    router: Linear<B>,
    weighing: Weighing,
    /// Experts that each token goes to.
    per_token: usize,
    experts: Vec<FeedForward<B>>,
    shared: Option<Shared<B>>,
}

/// An expert that every token goes to.
#[derive(Debug, Clone)]
struct Shared<B: Backend> {
    expert: FeedForward<B>,
    /// Its share is the sigmoid of this.
    gate: Option<Linear<B>>,
}

/// What the way back reads. A *slot* is an expert of a token; `[rows, per_token · size]` holds the slots of a row one after the other.
#[derive(Debug, Clone)]
pub(crate) struct ExpertsTape<B: Backend> {
    /// What the router says, `[rows, experts]`.
    router: Tensor<B, 2>,
    /// `gate x` and `up x` of each slot, `[rows, per_token · size]`.
    gate: Option<Tensor<B, 2>>,
    up: Tensor<B, 2>,
    /// What the expert of each slot says, `[rows, per_token · hidden]`.
    said: Tensor<B, 2>,
    shared: Option<SharedTape<B>>,
}

#[derive(Debug, Clone)]
struct SharedTape<B: Backend> {
    body: FeedForwardTape<B>,
    said: Tensor<B, 2>,
    gate: Option<Tensor<B, 2>>,
}

/// Which slots go to each expert, in the order of the experts.
struct Route {
    /// Slots of each expert.
    of_expert: Vec<Vec<usize>>,
    /// The experts of each row, one row after the other.
    chosen: Vec<usize>,
    per_token: usize,
}

impl Route {
    /// The most likely experts of each row; of equal ones the first. `origin` says which row of `router` each row is.
    fn new<B: Backend>(router: &Tensor<B, 2>, per_token: usize, origin: impl Iterator<Item = usize>) -> Self {
        let [_, experts] = router.dims();
        let logits: Vec<f32> = router.clone().into_data().iter::<f32>().collect();
        let best = |row: &[f32]| {
            let mut order: Vec<usize> = (0..experts).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            order.truncate(per_token);
            order
        };
        let of_row: Vec<Vec<usize>> = logits.chunks(experts).map(best).collect();
        let chosen: Vec<usize> = origin.flat_map(|row| of_row[row].iter().copied()).collect();
        let mut of_expert = vec![Vec::new(); experts];
        for (slot, &expert) in chosen.iter().enumerate() {
            of_expert[expert].push(slot);
        }
        Self { of_expert, chosen, per_token }
    }

    /// The chosen experts, `[rows, per_token]`.
    fn chosen<B: Backend>(&self, device: &B::Device) -> Tensor<B, 2, Int> {
        let rows = self.chosen.len() / self.per_token;
        let chosen: Vec<i32> = self.chosen.iter().map(|&expert| expert as i32).collect();
        Tensor::from_data(TensorData::new(chosen, [rows, self.per_token]), device)
    }

    /// The experts that have slots, with these.
    fn busy(&self) -> impl Iterator<Item = (usize, &[usize])> {
        self.of_expert.iter().map(Vec::as_slice).enumerate().filter(|(_, slots)| !slots.is_empty())
    }

    /// Puts what is in the order of experts back into that of slots.
    ///
    /// # Shapes
    /// - `parts`: `[slots of the expert, size]` for each busy expert
    /// - result: `[rows · per_token, size]`
    fn joined<B: Backend>(&self, parts: Vec<Tensor<B, 2>>) -> Tensor<B, 2> {
        let mut place_of = vec![0_i32; self.chosen.len()];
        for (place, &slot) in self.of_expert.iter().flatten().enumerate() {
            place_of[slot] = place as i32;
        }
        let all = Tensor::cat(parts, 0);
        let device = all.device();
        all.select(0, indices(place_of, &device))
    }
}

impl<B: Backend> ExpertsTape<B> {
    fn rows(&self, places: &Places<B>) -> Self {
        Self {
            router: places.of(&self.router),
            gate: places.of_optional(&self.gate),
            up: places.of(&self.up),
            said: places.of(&self.said),
            shared: self.shared.as_ref().map(|SharedTape { body, said, gate }| SharedTape {
                body: FeedForward::first(body, places),
                said: places.of(said),
                gate: places.of_optional(gate),
            }),
        }
    }
}

/// Some rows, by their numbers.
fn taken<B: Backend>(x: &Tensor<B, 2>, rows: impl Iterator<Item = usize>) -> Tensor<B, 2> {
    x.clone().select(0, indices(rows.map(|row| row as i32).collect(), &x.device()))
}

/// A row for each slot of what has the slots of a row one after the other.
fn slots_of<B: Backend>(x: &Tensor<B, 2>, per_token: usize) -> Tensor<B, 2> {
    let [rows, width] = x.dims();
    x.clone().reshape([rows * per_token, width / per_token])
}

impl<B: Backend> Experts<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        hidden: usize,
        config: &FeedForwardConfig,
        experts: &ExpertsConfig,
    ) -> Result<Self, ModelError> {
        let ExpertsConfig { count, per_token, size, weighing, router_bias, shared, .. } = experts;
        let of_size = |size: usize| FeedForwardConfig { size, ..*config };
        let expert =
            |number: usize| FeedForward::load(parameters, &format!("{name}.experts.{number}"), hidden, &of_size(*size));
        let shared = match shared {
            None => None,
            Some(SharedExpert { size, gated }) => Some(Shared {
                expert: FeedForward::load(parameters, &format!("{name}.shared"), hidden, &of_size(*size))?,
                gate: match gated {
                    true => Some(Linear::load(parameters, &format!("{name}.shared_gate"), [hidden, 1], false, None)?),
                    false => None,
                },
            }),
        };
        Ok(Self {
            router: Linear::load(parameters, &format!("{name}.router"), [hidden, *count], *router_bias, None)?,
            weighing: *weighing,
            per_token: *per_token,
            experts: (0..*count).map(expert).collect::<Result<_, _>>()?,
            shared,
        })
    }

    /// The weight of each slot, `[rows, per_token]`.
    fn weights(&self, router: Tensor<B, 2>, chosen: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        match self.weighing {
            Weighing::OfAll => softmax(router, 1).gather(1, chosen),
            Weighing::OfChosen => softmax(router.gather(1, chosen), 1),
        }
    }

    /// From gradients of the weights to gradients of what the router says.
    ///
    /// # Shapes
    /// - `grad`, `chosen`: `[rows, per_token]`
    /// - `router`, result: `[rows, experts]`
    fn to_router(&self, router: Tensor<B, 2>, chosen: Tensor<B, 2, Int>, grad: Tensor<B, 2>) -> Tensor<B, 2> {
        let through = |p: Tensor<B, 2>, grad: Tensor<B, 2>| {
            let mean = (p.clone() * grad.clone()).sum_dim(1);
            p * (grad - mean)
        };
        let zeros = router.zeros_like();
        match self.weighing {
            Weighing::OfAll => {
                let grad = zeros.scatter(1, chosen, grad, IndexingUpdateOp::Add);
                through(softmax(router, 1), grad)
            }
            Weighing::OfChosen => {
                let grad = through(softmax(router.gather(1, chosen.clone()), 1), grad);
                zeros.scatter(1, chosen, grad, IndexingUpdateOp::Add)
            }
        }
    }

    /// Gradients of the input, from those of the output at rows of which `tape` has the places.
    fn pull(
        &self,
        tape: &ExpertsTape<B>,
        mask: &Option<Tensor<B, 2>>,
        grad: Tensor<B, 2>,
        cotangents: Cotangents,
    ) -> Tensor<B, 2> {
        let [rows, hidden] = grad.dims();
        let [saved, _] = tape.router.dims();
        let Cotangents { texts, per_text } = cotangents;
        let places = saved / texts;
        let origin = |row: usize| row / (per_text * places) * places + row % places;
        let route = Route::new(&tape.router, self.per_token, (0..rows).map(origin));
        let (k, device) = (self.per_token, grad.device());
        let chosen = route.chosen::<B>(&device);
        let saved_rows = |x: &Tensor<B, 2>| if per_text == 1 { x.clone() } else { taken(x, (0..rows).map(origin)) };
        let router = saved_rows(&tape.router);
        let weights = self.weights(router.clone(), chosen.clone());
        let said = saved_rows(&tape.said).reshape([rows, k, hidden]);
        let to_weights = widened((said * grad.clone().unsqueeze_dim(1)).sum_dim(2).reshape([rows, k]));
        let to_x = self.router.pull(narrowed(self.to_router(router, chosen, to_weights), grad.dtype()));

        let weights = narrowed(weights, grad.dtype()).reshape([rows * k, 1]);
        let by_slot = |x: &Tensor<B, 2>| slots_of(x, k);
        let (gate, up) = (tape.gate.as_ref().map(by_slot), by_slot(&tape.up));
        let parts = route.busy().map(|(expert, slots)| {
            let slots = || slots.iter().copied();
            let of_tape = |x: &Tensor<B, 2>| taken(x, slots().map(|slot| origin(slot / k) * k + slot % k));
            let grad = taken(&grad, slots().map(|slot| slot / k)) * taken(&weights, slots());
            let mask = mask.as_ref().map(|mask| of_tape(&by_slot(mask)));
            let tape = FeedForwardTape { gate: gate.as_ref().map(of_tape), up: of_tape(&up) };
            self.experts[expert].pull(Saved::new(&tape, Rule::Gradient), mask, grad, Cotangents::one_each(1))
        });
        let by_slot = route.joined(parts.collect());
        let to_x = to_x + by_slot.reshape([rows, k, hidden]).sum_dim(1).reshape([rows, hidden]);
        match (&self.shared, &tape.shared) {
            (Some(shared), Some(tape)) => to_x + shared.pull(tape, grad, cotangents),
            _ => to_x,
        }
    }
}

impl<B: Backend> Shared<B> {
    fn record(&self, x: Tensor<B, 2>) -> (Tensor<B, 2>, SharedTape<B>) {
        let gate = self.gate.as_ref().map(|gate| gate.apply(x.clone()));
        let (said, body) = self.expert.record(x, &None);
        let share = match &gate {
            Some(gate) => said.clone() * sigmoid(gate.clone()),
            None => said.clone(),
        };
        (share, SharedTape { body, said, gate })
    }

    fn pull(&self, tape: &SharedTape<B>, grad: Tensor<B, 2>, cotangents: Cotangents) -> Tensor<B, 2> {
        let body = Saved::new(&tape.body, Rule::Gradient);
        let Some((linear, gate)) = self.gate.as_ref().zip(tape.gate.as_ref()) else {
            return self.expert.pull(body, None, grad, cotangents);
        };
        let share = sigmoid(gate.clone());
        let slope = share.clone() * (share.ones_like() - share.clone());
        let to_gate = scaled(grad.clone(), tape.said.clone(), cotangents).sum_dim(1);
        let to_gate = linear.pull(scaled(to_gate, slope, cotangents));
        to_gate + self.expert.pull(body, None, scaled(grad, share, cotangents), cotangents)
    }
}

impl<B: Backend> Forward<B> for Experts<B> {
    type Inputs = One;
    /// What dropout multiplies the hidden activations of each slot by, `[texts · places, per_token · size]`; no shared expert is published with dropout.
    type Around = Option<Tensor<B, 2>>;
    type Lifted = Experts<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        Experts {
            router: self.router.lift(),
            weighing: self.weighing,
            per_token: self.per_token,
            experts: self.experts.iter().map(FeedForward::lift).collect(),
            shared: self
                .shared
                .as_ref()
                .map(|Shared { expert, gate }| Shared { expert: expert.lift(), gate: gate.as_ref().map(Linear::lift) }),
        }
    }

    fn lift_around(mask: &Option<Tensor<B, 2>>) -> Option<Tensor<Autodiff<B>, 2>> {
        FeedForward::lift_around(mask)
    }

    fn forward(&self, x: Tensor<B, 2>, mask: &Option<Tensor<B, 2>>) -> Tensor<B, 2> {
        self.record(x, mask).0
    }
}

impl<B: Backend> Part<B> for Experts<B> {
    const NAME: &'static str = "mixture of experts";

    type Tape = ExpertsTape<B>;

    fn record(&self, x: Tensor<B, 2>, mask: &Option<Tensor<B, 2>>) -> (Tensor<B, 2>, ExpertsTape<B>) {
        let [rows, hidden] = x.dims();
        let (k, device) = (self.per_token, x.device());
        // Half precision would move ties.
        let router = widened(self.router.apply(x.clone()));
        let route = Route::new(&router, k, 0..rows);
        let (mut said, mut gates, mut ups) = (Vec::new(), Vec::new(), Vec::new());
        let by_slot = mask.as_ref().map(|mask| slots_of(mask, k));
        for (expert, slots) in route.busy() {
            let rows = taken(&x, slots.iter().map(|slot| slot / k));
            let mask = by_slot.as_ref().map(|mask| taken(mask, slots.iter().copied()));
            let (output, FeedForwardTape { gate, up }) = self.experts[expert].record(rows, &mask);
            said.push(output);
            gates.extend(gate);
            ups.push(up);
        }
        let by_row = |parts: Vec<Tensor<B, 2>>| {
            let joined = route.joined(parts);
            let [slots, width] = joined.dims();
            joined.reshape([slots / k, k * width])
        };
        let said = by_row(said);
        let weights = self.weights(router.clone(), route.chosen::<B>(&device));
        let weights = narrowed(weights, x.dtype());
        let weighted = said.clone().reshape([rows, k, hidden]) * weights.unsqueeze_dim(2);
        let output = weighted.sum_dim(1).reshape([rows, hidden]);
        let (output, shared) = match &self.shared {
            None => (output, None),
            Some(shared) => {
                let (said, tape) = shared.record(x);
                (output + said, Some(tape))
            }
        };
        let gate = (!gates.is_empty()).then(|| by_row(gates));
        (output, ExpertsTape { router, gate, up: by_row(ups), said, shared })
    }

    fn backward(
        &self,
        tape: Saved<'_, B, ExpertsTape<B>>,
        mask: &Option<Tensor<B, 2>>,
        grad: Gradients<B>,
    ) -> Result<Gradients<B>, ModelError> {
        if !tape.rule.is_gradient() {
            return Err(ModelError::NoRule { part: <Self as Part<B>>::NAME, rule: tape.rule.name() });
        }
        Ok(grad.map(|grad, front| {
            let mask = mask.as_ref().map(|mask| front.saved(mask));
            tape.at(front, ExpertsTape::rows, |tape| self.pull(tape.here, &mask, grad, front.over()))
        }))
    }

    fn first(tape: &ExpertsTape<B>, places: &Places<B>) -> ExpertsTape<B> {
        tape.rows(places)
    }
}
