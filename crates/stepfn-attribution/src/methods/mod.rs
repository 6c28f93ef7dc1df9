//! The methods, one file each. A method is a type whose fields are its parameters.
//!
//! `gradient` has what gradient methods share, `players` and `least_squares` what perturbation methods share, `inside` what methods share that look
//! inside the model.

mod attention;
mod attention_flow;
mod attention_rollout;
mod attn_lrp;
mod deeplift;
mod discretized_integrated_gradients;
mod dummy;
mod grad_x_attention;
pub mod gradient;
mod gradient_shap;
mod input_x_gradient;
mod inside;
mod integrated_gradients;
pub(crate) mod kernel_shap;
mod layer;
mod layer_deeplift;
mod layer_gradient_x_activation;
mod layer_integrated_gradients;
mod least_squares;
mod lime;
mod limits;
mod occlusion;
mod players;
mod reagent;
mod saliency;
mod sequential_integrated_gradients;
mod shapley_sampling;
mod value_zeroing;

pub use attention::Attention;
pub use attention_flow::AttentionFlow;
pub use attention_rollout::AttentionRollout;
pub use attn_lrp::AttnLrp;
pub use deeplift::DeepLift;
pub use discretized_integrated_gradients::{DiscretizedIntegratedGradients, PathStrategy};
pub use dummy::Dummy;
pub use grad_x_attention::GradXAttention;
pub use gradient_shap::GradientShap;
pub use input_x_gradient::InputXGradient;
pub use integrated_gradients::{Auto, IntegratedGradients, PathSteps};
pub use kernel_shap::KernelShap;
pub use layer_deeplift::LayerDeepLift;
pub use layer_gradient_x_activation::LayerGradientXActivation;
pub use layer_integrated_gradients::LayerIntegratedGradients;
pub use lime::{Lime, Similarity};
pub use occlusion::Occlusion;
pub use reagent::{Reagent, Replacement};
pub use saliency::Saliency;
pub use sequential_integrated_gradients::SequentialIntegratedGradients;
pub use shapley_sampling::ShapleySampling;
pub use value_zeroing::{Metric, ValueZeroing};

#[cfg(test)]
mod half_precision;

/// Hands the types of all methods of this crate to a macro.
macro_rules! for_each_method {
    ($macro:ident) => {
        $macro!(
            $crate::methods::Saliency,
            $crate::methods::InputXGradient,
            $crate::methods::IntegratedGradients,
            $crate::methods::SequentialIntegratedGradients,
            $crate::methods::DiscretizedIntegratedGradients,
            $crate::methods::GradientShap,
            $crate::methods::DeepLift,
            $crate::methods::AttnLrp,
            $crate::methods::LayerGradientXActivation,
            $crate::methods::LayerIntegratedGradients,
            $crate::methods::LayerDeepLift,
            $crate::methods::Occlusion,
            $crate::methods::Lime,
            $crate::methods::KernelShap,
            $crate::methods::ShapleySampling,
            $crate::methods::Reagent,
            $crate::methods::GradXAttention,
            $crate::methods::Attention,
            $crate::methods::AttentionRollout,
            $crate::methods::AttentionFlow,
            $crate::methods::ValueZeroing,
            $crate::methods::Dummy,
        )
    };
}
pub(crate) use for_each_method;
