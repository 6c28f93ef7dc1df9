//! What a part of the transformer promises.
//!
//! [`Forward`] is the part as a plain function. [`Part`] adds the way back: it keeps a tape on the way forward and pulls many cotangents back
//! through it, by any [`Rule`]. A new part need not write its way back: the default is automatic differentiation of that part alone, which is
//! right for gradients. Replace it once speed or another rule is worth the work.
//!
//! `laws.rs` holds every part to what this file promises.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};
use stepfn_kernels::Cotangents;

use super::front::{Front, Gradients};
use super::places::Places;
use super::rule::{Rule, Saved};
use crate::ModelError;

/// How many tensors a part reads. Gradients come back in the same form.
pub(crate) trait Inputs {
    /// One `T` for each tensor that the part reads.
    type Of<T: Clone>: Clone;

    /// The first, which has the places of the text, and the second, if the part reads two.
    fn split<T: Clone>(inputs: Self::Of<T>) -> (T, Option<T>);

    /// The reverse of [`split`](Self::split).
    fn join<T: Clone>(x: T, memory: Option<T>) -> Self::Of<T>;
}

/// A part that reads one tensor.
#[derive(Debug)]
pub(crate) enum One {}

impl Inputs for One {
    type Of<T: Clone> = T;

    fn split<T: Clone>(x: T) -> (T, Option<T>) {
        (x, None)
    }

    fn join<T: Clone>(x: T, _memory: Option<T>) -> T {
        x
    }
}

/// A part that also reads the encoder's output, if there is an encoder.
#[derive(Debug)]
pub(crate) enum WithMemory {}

/// Hidden states, and the encoder's output.
#[derive(Debug, Clone)]
pub(crate) struct Streams<T> {
    pub(crate) x: T,
    pub(crate) memory: Option<T>,
}

impl Inputs for WithMemory {
    type Of<T: Clone> = Streams<T>;

    fn split<T: Clone>(Streams { x, memory }: Streams<T>) -> (T, Option<T>) {
        (x, memory)
    }

    fn join<T: Clone>(x: T, memory: Option<T>) -> Streams<T> {
        Streams { x, memory }
    }
}

/// One `T` for each tensor that part `P` reads.
pub(crate) type Of<B, P, T> = <<P as Forward<B>>::Inputs as Inputs>::Of<T>;

/// The gradients of what part `P` reads.
pub(crate) type GradientsOf<B, P> = Of<B, P, Gradients<B>>;

/// What surrounds part `P` once it is lifted.
pub(crate) type LiftedAround<B, P> = <<P as Forward<B>>::Lifted as Forward<Autodiff<B>>>::Around;

/// A part as a function.
pub(crate) trait Forward<B: Backend>: Sized {
    /// The tensors that derivatives are taken with respect to: [`One`], or two.
    type Inputs: Inputs;
    /// Everything else the result depends on: what queries see, dropout masks; `()` if there is nothing.
    type Around;
    /// The same part on a backend with automatic differentiation.
    type Lifted: Forward<Autodiff<B>, Inputs = Self::Inputs>;

    /// The same part with its parameters as constants on a backend with automatic differentiation.
    fn lift(&self) -> Self::Lifted;

    /// The same for what surrounds it.
    fn lift_around(around: &Self::Around) -> LiftedAround<B, Self>;

    /// What the part computes.
    ///
    /// # Shapes
    /// - inputs: `[texts · places, size]`
    /// - result: `[texts · places, size of the output]`
    fn forward(&self, x: Of<B, Self, Tensor<B, 2>>, around: &Self::Around) -> Tensor<B, 2>;
}

/// A part that cotangents can be pulled back through.
pub(crate) trait Part<B: Backend>: Forward<B> {
    /// What errors call the part.
    const NAME: &'static str;

    /// What the way back needs of the way forward.
    type Tape;

    /// What [`forward`](Forward::forward) computes, and the tape.
    fn record(&self, x: Of<B, Self, Tensor<B, 2>>, around: &Self::Around) -> (Tensor<B, 2>, Self::Tape);

    /// The tape alone: what only the result needs is not computed, where that is worth it.
    fn tape(&self, x: Of<B, Self, Tensor<B, 2>>, around: &Self::Around) -> Self::Tape {
        self.record(x, around).1
    }

    /// What the part read, if the tape has it: what the default [`backward`](Self::backward) starts from.
    fn input(_tape: &Self::Tape) -> Option<Of<B, Self, Tensor<B, 2>>> {
        None
    }

    /// Pulls cotangents of the output back to the inputs. The tape is that of all places, wherever the cotangents are.
    ///
    /// By default the gradient is that of automatic differentiation, and there are no other rules.
    ///
    /// # Errors
    /// [`ModelError::NoRule`] if the part has no such rule.
    fn backward(
        &self,
        tape: Saved<'_, B, Self::Tape>,
        around: &Self::Around,
        grad: Gradients<B>,
    ) -> Result<GradientsOf<B, Self>, ModelError> {
        match (tape.rule, Self::input(tape.here)) {
            (Rule::Gradient, Some(x)) => Ok(by_autodiff(self, x, around, grad)),
            (rule, _) => Err(ModelError::NoRule { part: Self::NAME, rule: rule.name() }),
        }
    }

    /// The tape of a pass over these first places alone. Only called where no place reads a later one.
    fn first(tape: &Self::Tape, places: &Places<B>) -> Self::Tape;
}

/// The gradient by automatic differentiation of one part, one cotangent after the other.
///
/// # Shapes
/// - `x`: what the part read
/// - result: `[texts · cotangents · places, size]` for each input
pub(crate) fn by_autodiff<B: Backend, P: Forward<B>>(
    part: &P,
    x: Of<B, P, Tensor<B, 2>>,
    around: &P::Around,
    grad: Gradients<B>,
) -> GradientsOf<B, P> {
    let (grad, cotangents) = grad.everywhere();
    let Cotangents { texts, per_text } = cotangents;
    let (part, around) = (part.lift(), P::lift_around(around));
    let (x, memory) = P::Inputs::split(x);
    let [rows, size] = grad.dims();
    let apart = grad.reshape([texts, per_text, rows / (texts * per_text), size]);
    let (mut to_x, mut to_memory) = (Vec::with_capacity(per_text), Vec::new());
    for cotangent in 0..per_text {
        let leaf = |x: &Tensor<B, 2>| Tensor::<Autodiff<B>, 2>::from_inner(x.clone()).require_grad();
        let (x, memory) = (leaf(&x), memory.as_ref().map(leaf));
        let y = part.forward(P::Inputs::join(x.clone(), memory.clone()), &around);
        let grad = apart.clone().slice_dim(1, cotangent..cotangent + 1).reshape(y.dims());
        let grads = (y * Tensor::from_inner(grad)).sum().backward();
        let with_respect_to = |leaf: Tensor<Autodiff<B>, 2>| {
            let grad = leaf.grad(&grads).unwrap_or_else(|| leaf.inner().zeros_like());
            let [rows, size] = grad.dims();
            grad.reshape([texts, 1, rows / texts, size])
        };
        to_x.push(with_respect_to(x));
        to_memory.extend(memory.map(with_respect_to));
    }
    let joined = |found: Vec<Tensor<B, 4>>| {
        let all = Tensor::cat(found, 1);
        let [texts, per_text, places, size] = all.dims();
        Gradients::new(all.reshape([texts * per_text * places, size]), Front::All(cotangents))
    };
    P::Inputs::join(joined(to_x), (!to_memory.is_empty()).then(|| joined(to_memory)))
}

/// A tensor as a constant on a backend with automatic differentiation.
pub(crate) fn constant<B: Backend, const D: usize>(x: &Tensor<B, D>) -> Tensor<Autodiff<B>, D> {
    Tensor::from_inner(x.clone())
}
