//! Some step functions, however they are given.

use core::ops::Deref;

use burn::tensor::{Tensor, backend::Backend};
use serde_json::{Map, Value};
use stepfn_core::{Join, Needs, StepBatch, StepError, StepFunction, StepScore};

/// Some step functions: an array, a vector or a tuple of them.
pub trait StepFunctions<B: Backend> {
    /// Each behind a pointer.
    fn boxed(self) -> Vec<Box<dyn StepFunction<B>>>;
}

impl<B: Backend, F: StepFunction<B> + 'static, const N: usize> StepFunctions<B> for [F; N] {
    fn boxed(self) -> Vec<Box<dyn StepFunction<B>>> {
        self.into_iter().map(|function| Box::new(function) as Box<dyn StepFunction<B>>).collect()
    }
}

impl<B: Backend, F: StepFunction<B> + 'static> StepFunctions<B> for Vec<F> {
    fn boxed(self) -> Vec<Box<dyn StepFunction<B>>> {
        self.into_iter().map(|function| Box::new(function) as Box<dyn StepFunction<B>>).collect()
    }
}

macro_rules! tuples {
    ($(($($name:ident),+)),+) => {
        $(
            impl<B: Backend, $($name: StepFunction<B> + 'static),+> StepFunctions<B> for ($($name,)+) {
                fn boxed(self) -> Vec<Box<dyn StepFunction<B>>> {
                    #[allow(non_snake_case, reason = "a value is named as its type")]
                    let ($($name,)+) = self;
                    vec![$(Box::new($name)),+]
                }
            }
        )+
    };
}

tuples!((F), (F, G), (F, G, H), (F, G, H, I));

/// A function behind a pointer of any kind.
pub(crate) struct Borrowed<P>(pub(crate) P);

impl<B: Backend, P: Deref<Target = dyn StepFunction<B>> + Send + Sync> StepScore for Borrowed<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn parameters(&self) -> Map<String, Value> {
        self.0.parameters()
    }

    fn join(&self) -> Join {
        self.0.join()
    }

    fn needs(&self) -> Needs {
        self.0.needs()
    }

    fn is_differentiable(&self) -> bool {
        self.0.is_differentiable()
    }
}

impl<B: Backend, P: Deref<Target = dyn StepFunction<B>> + Send + Sync> StepFunction<B> for Borrowed<P> {
    fn score(&self, steps: &StepBatch<B>) -> core::result::Result<Tensor<B, 1>, StepError> {
        self.0.score(steps)
    }

    fn gradient(&self, steps: &StepBatch<B>) -> Option<Tensor<B, 2>> {
        self.0.gradient(steps)
    }
}
