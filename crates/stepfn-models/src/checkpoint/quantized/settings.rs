//! `quantization_config` in `config.json`.

use serde_json::{Map, Value};

use crate::ModelError;

/// What the configuration says about quantized weights.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) method: Method,
    pub(super) bits: Option<usize>,
    group: Option<usize>,
    /// Rows and columns that share a scale.
    pub(super) block: Option<[usize; 2]>,
    map: Map<String, Value>,
}

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// With zero points less one, in the first version of the format.
    Gptq {
        plus_one: bool,
    },
    Awq,
    Mlx,
    Mxfp4,
    /// Those whose tensors say everything.
    Other,
}

impl Settings {
    pub(super) fn of(config: &Value) -> Result<Option<Self>, ModelError> {
        let object = |name: &str| config.get(name).and_then(Value::as_object);
        let Some(map) = object("quantization_config").or_else(|| object("quantization")) else { return Ok(None) };
        let size = |name: &str| map.get(name).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
        let bits = size("bits").or_else(|| size("w_bit"));
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        let name = text("quant_method").or_else(|| text("quant_type")).unwrap_or_default();
        // Bits and group size alone are how mlx says it.
        let is_mlx =
            name.is_empty() && bits.is_some() && map.contains_key("group_size") && !map.contains_key("desc_act");
        let name = if is_mlx { "mlx" } else { name };
        let method = match name {
            "gptq" | "" => {
                let format = text("checkpoint_format").or_else(|| text("format")).unwrap_or("gptq");
                let is_marlin = map.get("is_marlin_format") == Some(&Value::Bool(true));
                match format {
                    "gptq" if !is_marlin => Method::Gptq { plus_one: true },
                    "gptq_v2" => Method::Gptq { plus_one: false },
                    _ => {
                        let found = if is_marlin { "marlin" } else { format };
                        return Err(refused("checkpoint_format", "`gptq` or `gptq_v2`", found));
                    }
                }
            }
            "awq" => {
                let version = text("version").or_else(|| text("format")).unwrap_or("gemm");
                if !version.eq_ignore_ascii_case("gemm") {
                    return Err(refused("version", "`gemm`", version));
                }
                if bits.is_some_and(|bits| bits != 4) {
                    return Err(refused("bits", "4", &bits.unwrap_or(0).to_string()));
                }
                Method::Awq
            }
            "mlx" => match text("mode").unwrap_or("affine") {
                "affine" => Method::Mlx,
                mode => return Err(refused("mode", "`affine`", mode)),
            },
            "mxfp4" => Method::Mxfp4,
            "fp8" | "fbgemm_fp8" | "bitsandbytes" | "modelopt" => Method::Other,
            "compressed-tensors" => {
                const READ: [&str; 6] = [
                    "pack-quantized",
                    "float-quantized",
                    "int-quantized",
                    "naive-quantized",
                    "dense",
                    "mixed-precision",
                ];
                let format = text("format").unwrap_or("dense");
                if !READ.contains(&format) {
                    return Err(refused("format", &READ.map(|format| format!("`{format}`")).join(", "), format));
                }
                Method::Other
            }
            other => {
                let read = "`gptq`, `awq`, `fp8`, `bitsandbytes`, `compressed-tensors`, `mxfp4`, or the format of mlx";
                return Err(refused("quant_method", read, other));
            }
        };
        if bits.is_some_and(|bits| !matches!(bits, 2..=8)) {
            return Err(refused("bits", "2 to 8", &bits.unwrap_or(0).to_string()));
        }
        let block = map.get("weight_block_size").and_then(Value::as_array).and_then(|sizes| match sizes.as_slice() {
            [rows, columns] => Some([rows.as_u64()?, columns.as_u64()?].map(|size| size as usize)),
            _ => None,
        });
        Ok(Some(Self { method, bits, group: size("group_size"), block, map: map.clone() }))
    }

    /// Bits and group size of one layer, where they may differ.
    pub(super) fn of_layer(&self, base: &str) -> (Option<usize>, Option<usize>) {
        let own = |name: &str| self.map.get(base)?.get(name)?.as_u64().and_then(|size| usize::try_from(size).ok());
        let valid = |bits: &usize| matches!(bits, 2..=8);
        (own("bits").or(self.bits).filter(valid), own("group_size").or(self.group))
    }
}

/// The error for a checkpoint in a quantized format that isn't read.
fn refused(field: &str, expected: &str, found: &str) -> ModelError {
    let advice = "; take the model without quantization, or a GGUF file of it";
    let shown: String = found.chars().take(60).collect();
    ModelError::config(format!("quantization_config.{field}"), expected, format!("`{shown}`{advice}"))
}

/// The error for quantized weights without a word about them.
pub(super) fn missing(tensor: &str) -> ModelError {
    ModelError::config(
        "quantization_config",
        format!("how `{tensor}` is quantized: `quant_method`, `bits`, `group_size`"),
        "nothing about it",
    )
}
