//! Quantized checkpoints: weights of few bits in several stored tensors each, dequantized one at a time when they are read.
//!
//! What is stored for a weight shows in the names of its tensors; the configuration adds what the tensors don't say.
//!
//! | method | stored for `x.weight` |
//! |---|---|
//! | GPTQ, AWQ | `x.qweight`, `x.qzeros`, `x.scales`, with GPTQ also `x.g_idx` |
//! | FP8, 8-bit integers | `x.weight`, and `x.weight_scale` or `x.weight_scale_inv` |
//! | bitsandbytes, 8 bits | `x.weight`, `x.SCB` |
//! | bitsandbytes, 4 bits | `x.weight`, `x.weight.absmax`, `x.weight.quant_map`, `x.weight.quant_state.bitsandbytes__nf4`, … |
//! | compressed-tensors, packed | `x.weight_packed`, `x.weight_scale`, `x.weight_shape`, … |
//! | mlx | `x.weight`, `x.scales`, `x.biases` |
//! | MXFP4 | `x_blocks`, `x_scales` for `x` |

mod codes;
mod integer;
mod lookup;
mod parts;
mod rows;
mod scaled;
mod settings;
#[cfg(test)]
mod tests;

use core::fmt::Debug;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::element::Element;
use super::stored::Stored;
use crate::ModelError;
use integer::{Awq, Gptq};
use lookup::{Bitsandbytes, Mxfp4};
use parts::Parts;
use rows::Rows;
use scaled::Scaled;
use settings::{Method, Settings};

/// A quantized weight.
trait Dequantize: Debug + Send + Sync {
    /// Its shape.
    fn shape(&self) -> Vec<usize>;
    /// Its values.
    fn read(&self, stored: &Stored) -> Vec<f32>;
}

/// The quantized weights of a checkpoint, by the names that they have without quantization.
#[derive(Debug, Default)]
pub(super) struct Quantization {
    weights: BTreeMap<String, Weight>,
    /// Biases of nothing but zeros.
    zero_biases: BTreeSet<String>,
}

#[derive(Debug)]
struct Weight {
    values: Box<dyn Dequantize>,
    shape: Vec<usize>,
    /// Whether published checkpoints store the matrix as `[in, out]`.
    transposed: bool,
    /// The stored tensor that it was found by.
    file: usize,
}

impl Quantization {
    /// Takes the quantized weights out of the stored tensors of a checkpoint.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a method that is not read, [`ModelError::Tensor`] or [`ModelError::MissingTensor`] if a weight is
    /// incomplete.
    pub(super) fn of(config: &Value, stored: &mut Stored, folder: &Path) -> Result<Self, ModelError> {
        let settings = Settings::of(config)?;
        let found: Vec<Found> =
            stored.tensors.keys().filter_map(|name| Found::by(name, stored, settings.as_ref())).collect();
        let has_linear_inputs_first = config.get("model_type").and_then(Value::as_str) == Some("gpt2");
        let (mut weights, mut zero_biases) = (BTreeMap::new(), BTreeSet::new());
        for found in found {
            let bias = format!("{}.bias", found.base);
            if stored.tensors.get(&bias).is_some_and(|entry| stored.bytes(entry).iter().all(|byte| *byte == 0)) {
                zero_biases.insert(bias);
            }
            let file = stored.tensors.get(&format!("{}{}", found.base, found.end)).map_or(0, |entry| entry.file);
            let mut parts = Parts::new(stored, folder, &found.base);
            let values = found.read(&mut parts, settings.as_ref())?;
            let mut shape = values.shape();
            let transposed = has_linear_inputs_first && shape.len() == 2 && found.base.contains(".c_");
            if transposed {
                shape.reverse();
            }
            weights.insert(found.name(), Weight { values, shape, transposed, file });
        }
        if settings.is_some() {
            // Scales of activations and of caches.
            const UNUSED: [&str; 7] = [
                "input_scale",
                "activation_scale",
                "output_scale",
                "k_scale",
                "v_scale",
                "q_scale",
                "input_zero_point",
            ];
            stored.tensors.retain(|name, _| !UNUSED.iter().any(|unused| name.ends_with(unused)));
        }
        Ok(Self { weights, zero_biases })
    }

    /// Whether a tensor is a bias of zeros. Some programs store one for each layer, also where the model has none.
    pub(super) fn is_zero_bias(&self, name: &str) -> bool {
        self.zero_biases.contains(name)
    }

    /// The names of the weights.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.keys().map(String::as_str)
    }

    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.weights.get(name).map(|weight| weight.shape.as_slice())
    }

    /// The number of the file that a weight is in, or begins in.
    pub(super) fn file(&self, name: &str) -> Option<usize> {
        self.weights.get(name).map(|weight| weight.file)
    }

    /// The values of a weight.
    pub(super) fn read(&self, name: &str, stored: &Stored) -> Option<Vec<f32>> {
        let Weight { values, transposed, shape, .. } = self.weights.get(name)?;
        let values = values.read(stored);
        Some(match (transposed, shape.as_slice()) {
            (true, &[rows, columns]) => codes::transposed(rows, columns, |row, column| {
                values.get(column * rows + row).copied().unwrap_or(f32::NAN)
            }),
            _ => values,
        })
    }
}

/// A quantized weight among the stored tensors.
#[derive(Debug)]
struct Found {
    /// What the names of its tensors start with.
    base: String,
    /// The rest of the name that it was found by.
    end: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// GPTQ or AWQ.
    Words,
    Scaled,
    Int8,
    Lookup,
    Compressed,
    Mlx,
    Mxfp4,
}

impl Found {
    fn by(name: &str, stored: &Stored, settings: Option<&Settings>) -> Option<Self> {
        let found =
            |base: &str, kind| Some(Self { end: name.get(base.len()..)?.to_owned(), base: base.to_owned(), kind });
        let element = |name: &str| stored.tensors.get(name).and_then(|entry| entry.element());
        let is_method = |method| settings.is_some_and(|settings| settings.method == method);
        if let Some(base) = name.strip_suffix(".qweight") {
            return found(base, Kind::Words);
        }
        if let Some(base) = name.strip_suffix(".SCB") {
            return found(base, Kind::Int8);
        }
        if let Some((base, _)) = name.split_once(".weight.quant_state.bitsandbytes__") {
            return found(base, Kind::Lookup);
        }
        if let Some(base) = name.strip_suffix(".weight_packed") {
            return found(base, Kind::Compressed);
        }
        if let Some(base) = name.strip_suffix("_blocks").filter(|_| is_method(Method::Mxfp4)) {
            return found(base, Kind::Mxfp4);
        }
        if let Some(base) = name.strip_suffix(".scales").filter(|_| is_method(Method::Mlx)) {
            return found(base, Kind::Mlx);
        }
        let base = name.strip_suffix("_scale_inv").or_else(|| name.strip_suffix("_scale"))?;
        let is_scaled = matches!(element(base), Some(Element::F8E4m3 | Element::F8E5m2 | Element::I8 | Element::U8));
        if is_scaled { found(base, Kind::Scaled) } else { None }
    }

    /// The weight's name without quantization.
    fn name(&self) -> String {
        match self.kind {
            Kind::Scaled | Kind::Mxfp4 => self.base.clone(),
            _ => format!("{}.weight", self.base),
        }
    }

    fn read(&self, parts: &mut Parts, settings: Option<&Settings>) -> Result<Box<dyn Dequantize>, ModelError> {
        Ok(match self.kind {
            Kind::Words => match settings.map(|settings| settings.method) {
                Some(Method::Gptq { plus_one }) => {
                    let bits = settings.and_then(|settings| settings.bits);
                    Box::new(Gptq::find(parts, bits, plus_one)?)
                }
                Some(Method::Awq) => Box::new(Awq::find(parts)?),
                _ => return Err(settings::missing(&format!("{}.qweight", self.base))),
            },
            Kind::Scaled => Box::new(Scaled::find(parts, "", &self.end, settings.and_then(|settings| settings.block))?),
            Kind::Int8 => Box::new(Scaled::of_bitsandbytes(parts)?),
            Kind::Lookup => Box::new(Bitsandbytes::find(parts, &self.end)?),
            Kind::Compressed => Box::new(Rows::of_compressed(parts)?),
            Kind::Mxfp4 => Box::new(Mxfp4::find(parts)?),
            Kind::Mlx => {
                let (bits, group) = settings.map_or((None, None), |settings| settings.of_layer(&self.base));
                let (Some(bits), Some(group)) = (bits, group) else {
                    return Err(settings::missing(&format!("{}.scales", self.base)));
                };
                Box::new(Rows::of_mlx(parts, bits, group)?)
            }
        })
    }
}
