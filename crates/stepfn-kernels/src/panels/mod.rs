//! Weights in the order in which products read them, and these products.
//!
//! A weight `W` `[out, in]` is laid out once, in panels of [`PANEL`] outputs: for each panel, for each input, one number per output. `y = x Wᵀ` reads a panel row by row as
//! vectors of outputs, and `dx = dy W` reads its numbers one by one, for `dxᵀ = Wᵀ dyᵀ`. So one layout, of the size of the weight, serves both, and neither turns or copies the
//! weight. Outputs are filled up with 0 to whole panels.
//!
//! Numbers that are in half precision where they come from stay so: products widen as many at a time as a core's cache holds. A product with a single row takes as long
//! as reading the weight does, so half the bytes take about half the time.
//!
//! The blocking is that of Goto and van de Geijn (2008, doi:10.1145/1356052.1356053), with the weight's part of the packing done beforehand.

mod halves;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
pub(crate) mod int8;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod packing;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
pub(crate) mod products;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod tiles;
#[cfg(all(feature = "flex", target_arch = "x86_64"))]
mod turning;

use core::ops::Range;

use burn::tensor::{DType, bf16, f16};
#[cfg(feature = "flex")]
use burn::tensor::{Tensor, backend::Backend};
use rayon::prelude::*;

use self::halves::Numbers;
use crate::weight::StoredRows;

/// Outputs of a panel: two vectors of the widest instructions.
const PANEL: usize = 32;

/// A weight in panels.
#[derive(Debug)]
pub struct Panels {
    /// `[panels, in, PANEL]`
    numbers: Numbers,
    /// Rows (outputs) and columns (inputs) of the weight.
    size: [usize; 2],
}

impl Panels {
    /// Whether this machine has the instructions of their products.
    pub fn is_supported() -> bool {
        #[cfg(all(feature = "flex", target_arch = "x86_64"))]
        {
            tiles::Instructions::of_machine().is_some()
        }
        #[cfg(not(all(feature = "flex", target_arch = "x86_64")))]
        {
            false
        }
    }

    /// Lays out rows, in the [element type](StoredRows::element) that they have.
    pub fn of(rows: &dyn StoredRows) -> Self {
        let [outputs, inputs] = rows.size();
        let mut numbers = Numbers::zeros(rows.element(), outputs.div_ceil(PANEL) * inputs * PANEL);
        match &mut numbers {
            Numbers::F32(numbers) => lay_out(rows, numbers, |number| number),
            Numbers::F16(numbers) => lay_out(rows, numbers, f16::from_f32),
            Numbers::Bf16(numbers) => lay_out(rows, numbers, bf16::from_f32),
        }
        Self { numbers, size: [outputs, inputs] }
    }

    /// `x Wᵀ + b`, or `None` if fused loops can't read the tensors.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`
    /// - `bias`: `[1, out]`
    /// - result: `[rows, out]`
    #[cfg(feature = "flex")]
    pub(crate) fn linear<B: Backend>(&self, x: &Tensor<B, 2>, bias: Option<&Tensor<B, 2>>) -> Option<Tensor<B, 2>> {
        #[cfg(target_arch = "x86_64")]
        {
            products::linear(x, &[(self, bias)]).map(|mut y| y.swap_remove(0))
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (x, bias);
            None
        }
    }

    /// `grad W`, or `None` if fused loops can't read the tensor.
    ///
    /// # Shapes
    /// - `grad`: `[rows, out]`
    /// - result: `[rows, in]`
    #[cfg(feature = "flex")]
    pub(crate) fn pull<B: Backend>(&self, grad: &Tensor<B, 2>) -> Option<Tensor<B, 2>> {
        #[cfg(target_arch = "x86_64")]
        {
            products::pull(&[(self, grad)])
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = grad;
            None
        }
    }
}

/// Writes rows as `[panels, in, PANEL]`.
fn lay_out<T: Copy + Send + Sync>(rows: &dyn StoredRows, numbers: &mut [T], stored: impl Fn(f32) -> T + Sync) {
    /// Inputs of all of a panel's rows that fit a core's L1 cache.
    const NEAR: usize = 256;
    let [outputs, inputs] = rows.size();
    let of_panel = |(panel, numbers): (usize, &mut [T])| {
        let block = rows.block().max(1);
        let each = NEAR.next_multiple_of(block);
        let mut near = vec![0.0; each];
        for start in (0..inputs).step_by(each) {
            let columns = start..inputs.min(start + each);
            let numbers = &mut numbers[start * PANEL..columns.end * PANEL];
            for (lane, row) in (panel * PANEL..outputs.min((panel + 1) * PANEL)).enumerate() {
                let near = &mut near[..columns.len()];
                rows.expand(row, columns.clone(), near);
                numbers[lane..].iter_mut().step_by(PANEL).zip(near).for_each(|(to, from)| *to = stored(*from));
            }
        }
    };
    numbers.par_chunks_mut((inputs * PANEL).max(1)).enumerate().for_each(of_panel);
}

impl StoredRows for Panels {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn block(&self) -> usize {
        1
    }

    fn element(&self) -> DType {
        self.numbers.element()
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        let panel = row / PANEL * self.size[1] * PANEL;
        let of_columns = panel + columns.start * PANEL..panel + columns.end * PANEL;
        self.numbers.every(of_columns, (row % PANEL, PANEL), values);
    }
}
