//! A branch of a block: attention or feed-forward with its normalization, added to the residual stream.
//!
//! Normalized before (`x + f(n(x))`), after (`n(x + f(x))`), around the branch (`x + n₂(f(n₁(x)))`), on its output (`x + n(f(x))`), or not at all.
//! What the branch adds may be multiplied by a number.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};

use super::front::Gradients;
use super::norm::Norm;
use super::part::{Forward, GradientsOf, Inputs, LiftedAround, Of, Part, constant};
use super::places::Places;
use super::rule::Saved;
use crate::ModelError;
use crate::config::{NormConfig, NormPlacement, Residual};
use crate::parameters::Parameters;

/// A branch with this body.
#[derive(Debug, Clone)]
pub(crate) struct Branch<B: Backend, T> {
    pub(super) body: T,
    norms: Norms<B>,
    /// What the body's output is multiplied by.
    scale: f64,
}

/// Where a branch is normalized.
#[derive(Debug, Clone)]
enum Norms<B: Backend> {
    /// Nothing.
    None,
    /// Its input.
    Pre(Norm<B>),
    /// The residual sum.
    Post(Norm<B>),
    /// Its input, and its output before the residual sum.
    Sandwich(Norm<B>, Norm<B>),
    /// Its output before the residual sum.
    Output(Norm<B>),
}

/// What surrounds a branch.
#[derive(Debug, Clone)]
pub(crate) struct BranchAround<B: Backend, A> {
    /// What surrounds the body.
    pub(crate) body: A,
    /// What dropout multiplies the body's output by, `[texts · places, hidden]`.
    pub(crate) mask: Option<Tensor<B, 2>>,
}

/// What the way back reads.
#[derive(Debug, Clone)]
pub(crate) struct BranchTape<B: Backend, T> {
    /// The residual stream before the branch.
    pub(super) x: Tensor<B, 2>,
    /// What the second normalization reads: the residual sum, or the branch's output.
    unnormalized: Option<Tensor<B, 2>>,
    pub(super) body: T,
}

impl<B: Backend, T> Branch<B, T> {
    /// A body with the normalizations of branch `name`, such as `decoder.layers.0.feed_forward`.
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        body: T,
        hidden: usize,
        (placement, config, residual): (Option<NormPlacement>, NormConfig, Residual),
    ) -> Result<Self, ModelError> {
        let norm = |suffix: &str| Norm::load(parameters, &format!("{name}{suffix}"), hidden, config);
        let norms = match placement {
            None => Norms::None,
            Some(NormPlacement::Pre) => Norms::Pre(norm("_norm")?),
            Some(NormPlacement::Post) => Norms::Post(norm("_norm")?),
            Some(NormPlacement::Sandwich) => Norms::Sandwich(norm("_norm")?, norm("_post_norm")?),
            Some(NormPlacement::Output) => Norms::Output(norm("_post_norm")?),
        };
        let scale = if let Residual::Scaled(scale) = residual { scale } else { 1.0 };
        Ok(Self { body, norms, scale })
    }

    /// The branch that reads `x` and is added to `stream`, which is `x` itself unless branches are parallel.
    ///
    /// # Shapes
    /// - `x`, `stream`, result: `[texts · places, hidden]`
    pub(super) fn record_onto<U>(
        &self,
        stream: Tensor<B, 2>,
        x: Tensor<B, 2>,
        mask: Option<&Tensor<B, 2>>,
        body: impl FnOnce(Tensor<B, 2>) -> (Tensor<B, 2>, U),
    ) -> (Tensor<B, 2>, BranchTape<B, U>) {
        let (y, body) = body(self.norms.before(x.clone()));
        let (out, unnormalized) = self.norms.after(stream, self.scaled(masked(y, mask)));
        (out, BranchTape { x, unnormalized, body })
    }

    fn scaled(&self, y: Tensor<B, 2>) -> Tensor<B, 2> {
        if self.scale == 1.0 { y } else { y.mul_scalar(self.scale) }
    }
}

impl<B: Backend, T> BranchTape<B, T> {
    /// The same without the body's own tape.
    pub(super) fn outline(&self) -> BranchTape<B, ()> {
        BranchTape { x: self.x.clone(), unnormalized: self.unnormalized.clone(), body: () }
    }

    /// The tape of a pass over the first places of each text, with what the body saves there.
    pub(super) fn first<U>(&self, places: &Places<B>, body: U) -> BranchTape<B, U> {
        BranchTape { x: places.of(&self.x), unnormalized: places.of_optional(&self.unnormalized), body }
    }
}

impl<B: Backend, T: Part<B>> Branch<B, T> {
    /// The tape that an outline is of.
    pub(super) fn completed(
        &self,
        outline: &BranchTape<B, ()>,
        memory: Option<&Tensor<B, 2>>,
        around: &T::Around,
    ) -> BranchTape<B, T::Tape> {
        let BranchTape { x, unnormalized, .. } = outline.clone();
        let body = self.body.tape(T::Inputs::join(self.norms.before(x.clone()), memory.cloned()), around);
        BranchTape { x, unnormalized, body }
    }

    /// Pulls cotangents back to the stream that the branch is added to, and to what the branch reads.
    pub(super) fn backward_apart(
        &self,
        tape: Saved<'_, B, BranchTape<B, T::Tape>>,
        around: &BranchAround<B, T::Around>,
        grad: Gradients<B>,
    ) -> Result<(Gradients<B>, GradientsOf<B, T>), ModelError> {
        let (to_stream, to_output) = self.norms.after_backward(tape, grad)?;
        let to_output = to_output.map(|grad, _| self.scaled(grad)).scaled(around.mask.as_ref());
        let to_input = self.body.backward(tape.part(|tape| &tape.body), &around.body, to_output)?;
        let (to_x, to_memory) = T::Inputs::split(to_input);
        Ok((to_stream, T::Inputs::join(self.norms.before_backward(tape, to_x)?, to_memory)))
    }
}

impl<B: Backend> Norms<B> {
    /// From the residual stream to what the body reads.
    fn before(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Norms::Pre(norm) | Norms::Sandwich(norm, _) => norm.apply(x),
            Norms::None | Norms::Post(_) | Norms::Output(_) => x,
        }
    }

    /// From the body's output to the residual stream after the branch; also what a normalization there reads.
    fn after(&self, stream: Tensor<B, 2>, y: Tensor<B, 2>) -> (Tensor<B, 2>, Option<Tensor<B, 2>>) {
        match self {
            Norms::None | Norms::Pre(_) => (stream + y, None),
            Norms::Post(norm) => {
                let sum = stream + y;
                (norm.apply(sum.clone()), Some(sum))
            }
            Norms::Sandwich(_, norm) | Norms::Output(norm) => (stream + norm.apply(y.clone()), Some(y)),
        }
    }

    /// The way back from [`after`](Self::after): to the stream, and to the body's output.
    fn after_backward<T>(
        &self,
        tape: Saved<'_, B, BranchTape<B, T>>,
        grad: Gradients<B>,
    ) -> Result<(Gradients<B>, Gradients<B>), ModelError> {
        let through = |norm: &Norm<B>, grad| match tape.optional(|tape| tape.unnormalized.as_ref()) {
            Some(x) => norm.backward(x, &(), grad),
            None => Ok(grad),
        };
        Ok(match self {
            Norms::None | Norms::Pre(_) => (grad.clone(), grad),
            Norms::Post(norm) => {
                let grad = through(norm, grad)?;
                (grad.clone(), grad)
            }
            Norms::Sandwich(_, norm) | Norms::Output(norm) => (grad.clone(), through(norm, grad)?),
        })
    }

    /// The way back from [`before`](Self::before).
    fn before_backward<T>(
        &self,
        tape: Saved<'_, B, BranchTape<B, T>>,
        grad: Gradients<B>,
    ) -> Result<Gradients<B>, ModelError> {
        match self {
            Norms::Pre(norm) | Norms::Sandwich(norm, _) => norm.backward(tape.part(|tape| &tape.x), &(), grad),
            Norms::None | Norms::Post(_) | Norms::Output(_) => Ok(grad),
        }
    }

    fn lift(&self) -> Norms<Autodiff<B>> {
        match self {
            Norms::None => Norms::None,
            Norms::Pre(norm) => Norms::Pre(norm.lift()),
            Norms::Post(norm) => Norms::Post(norm.lift()),
            Norms::Sandwich(before, after) => Norms::Sandwich(before.lift(), after.lift()),
            Norms::Output(norm) => Norms::Output(norm.lift()),
        }
    }
}

fn masked<B: Backend>(y: Tensor<B, 2>, mask: Option<&Tensor<B, 2>>) -> Tensor<B, 2> {
    match mask {
        Some(mask) => y * mask.clone(),
        None => y,
    }
}

impl<B: Backend, T: Forward<B>> Forward<B> for Branch<B, T> {
    type Inputs = T::Inputs;
    type Around = BranchAround<B, T::Around>;
    type Lifted = Branch<Autodiff<B>, T::Lifted>;

    fn lift(&self) -> Self::Lifted {
        Branch { body: self.body.lift(), norms: self.norms.lift(), scale: self.scale }
    }

    fn lift_around(around: &Self::Around) -> BranchAround<Autodiff<B>, LiftedAround<B, T>> {
        BranchAround { body: T::lift_around(&around.body), mask: around.mask.as_ref().map(constant) }
    }

    fn forward(&self, x: Of<B, T, Tensor<B, 2>>, around: &Self::Around) -> Tensor<B, 2> {
        let (x, memory) = T::Inputs::split(x);
        let body = |x| (self.body.forward(T::Inputs::join(x, memory), &around.body), ());
        self.record_onto(x.clone(), x, around.mask.as_ref(), body).0
    }
}

impl<B: Backend, T: Part<B>> Part<B> for Branch<B, T> {
    const NAME: &'static str = T::NAME;

    type Tape = BranchTape<B, T::Tape>;

    fn record(&self, x: Of<B, T, Tensor<B, 2>>, around: &Self::Around) -> (Tensor<B, 2>, Self::Tape) {
        let (x, memory) = T::Inputs::split(x);
        let body = |x| self.body.record(T::Inputs::join(x, memory), &around.body);
        self.record_onto(x.clone(), x, around.mask.as_ref(), body)
    }

    fn backward(
        &self,
        tape: Saved<'_, B, Self::Tape>,
        around: &Self::Around,
        grad: Gradients<B>,
    ) -> Result<GradientsOf<B, T>, ModelError> {
        let (to_stream, to_input) = self.backward_apart(tape, around, grad)?;
        let (to_x, to_memory) = T::Inputs::split(to_input);
        Ok(T::Inputs::join(to_stream.plus(to_x), to_memory))
    }

    fn first(tape: &Self::Tape, places: &Places<B>) -> Self::Tape {
        tape.first(places, T::first(&tape.body, places))
    }
}
