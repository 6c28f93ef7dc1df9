//! What a block feeds each place to: one feed-forward, or a mixture of experts.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, backend::Backend};

use super::experts::{Experts, ExpertsTape};
use super::feed_forward::{FeedForward, FeedForwardTape};
use super::front::Gradients;
use super::part::{Forward, One, Part};
use super::places::Places;
use super::rule::Saved;
use crate::ModelError;
use crate::config::StackConfig;
use crate::parameters::Parameters;

/// A feed-forward or a mixture of them.
#[derive(Debug, Clone)]
pub(crate) enum Fed<B: Backend> {
    One(FeedForward<B>),
    Experts(Experts<B>),
}

/// What the way back reads.
#[derive(Debug, Clone)]
pub(crate) enum FedTape<B: Backend> {
    One(FeedForwardTape<B>),
    Experts(ExpertsTape<B>),
}

impl<B: Backend> FedTape<B> {
    fn one(&self) -> Option<&FeedForwardTape<B>> {
        match self {
            Self::One(tape) => Some(tape),
            Self::Experts(_) => None,
        }
    }

    fn experts(&self) -> Option<&ExpertsTape<B>> {
        match self {
            Self::Experts(tape) => Some(tape),
            Self::One(_) => None,
        }
    }
}

impl<B: Backend> Fed<B> {
    pub(crate) fn load(
        parameters: &Parameters<B>,
        name: &str,
        hidden: usize,
        config: &StackConfig,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let experts = config.experts.as_ref().filter(|_| config.has_experts(layer));
        Ok(match experts {
            Some(experts) => Self::Experts(Experts::load(parameters, name, hidden, &config.feed_forward, experts)?),
            None => Self::One(FeedForward::load(parameters, name, hidden, &config.feed_forward)?),
        })
    }
}

impl<B: Backend> Forward<B> for Fed<B> {
    type Inputs = One;
    /// As for [`FeedForward`].
    type Around = Option<Tensor<B, 2>>;
    type Lifted = Fed<Autodiff<B>>;

    fn lift(&self) -> Self::Lifted {
        match self {
            Self::One(one) => Fed::One(one.lift()),
            Self::Experts(experts) => Fed::Experts(experts.lift()),
        }
    }

    fn lift_around(mask: &Option<Tensor<B, 2>>) -> Option<Tensor<Autodiff<B>, 2>> {
        FeedForward::lift_around(mask)
    }

    fn forward(&self, x: Tensor<B, 2>, mask: &Option<Tensor<B, 2>>) -> Tensor<B, 2> {
        self.record(x, mask).0
    }
}

impl<B: Backend> Part<B> for Fed<B> {
    const NAME: &'static str = <FeedForward<B> as Part<B>>::NAME;

    type Tape = FedTape<B>;

    fn record(&self, x: Tensor<B, 2>, mask: &Option<Tensor<B, 2>>) -> (Tensor<B, 2>, FedTape<B>) {
        match self {
            Self::One(one) => {
                let (y, tape) = one.record(x, mask);
                (y, FedTape::One(tape))
            }
            Self::Experts(experts) => {
                let (y, tape) = experts.record(x, mask);
                (y, FedTape::Experts(tape))
            }
        }
    }

    fn tape(&self, x: Tensor<B, 2>, mask: &Option<Tensor<B, 2>>) -> FedTape<B> {
        match self {
            Self::One(one) => FedTape::One(one.tape(x, mask)),
            Self::Experts(experts) => FedTape::Experts(experts.tape(x, mask)),
        }
    }

    fn backward(
        &self,
        tape: Saved<'_, B, FedTape<B>>,
        mask: &Option<Tensor<B, 2>>,
        grad: Gradients<B>,
    ) -> Result<Gradients<B>, ModelError> {
        match (self, tape.optional(FedTape::one), tape.optional(FedTape::experts)) {
            (Self::One(one), Some(tape), _) => one.backward(tape, mask, grad),
            (Self::Experts(experts), _, Some(tape)) => experts.backward(tape, mask, grad),
            _ => unreachable!("a tape is that of its part"),
        }
    }

    fn first(tape: &FedTape<B>, places: &Places<B>) -> FedTape<B> {
        match tape {
            FedTape::One(tape) => FedTape::One(FeedForward::first(tape, places)),
            FedTape::Experts(tape) => FedTape::Experts(Experts::first(tape, places)),
        }
    }
}
