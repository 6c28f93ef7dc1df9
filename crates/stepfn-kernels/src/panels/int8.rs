//! Weights of 8 bits, and products of them with rows that are rounded to 8 bits as they come.
//!
//! Each output's weights are `scale · q` with whole `q`, each row of `x` likewise; sums of whole numbers are exact, so a result does not depend on the machine's number of
//! cores or on what other rows there are. Rows are rounded "dynamically", each by its own greatest magnitude (Bhandare et al. 2019, arXiv:1906.00532); weights
//! by output channel.
//!
//! The instructions multiply numbers without a sign by numbers with one, so that rows are stored as `q + 128`, and `128 · Σ q` of the weights is taken off. Without VNNI, two
//! products are added in 16 bits: there weights have at most the magnitude 64, so that no sum saturates.

use core::ops::Range;

use burn::tensor::{Tensor, backend::Backend};
use rayon::prelude::*;

use super::PANEL;
use super::packing::Groups;
use super::products::{Shared, TASKS, filled, split};
use super::tiles::{MOST_ROWS, by_rows};
use crate::cores::on_all_cores;
use crate::host::HostRows;
use crate::host::flex::{self, Strided};
use crate::product::Matrix;
use crate::watched::is_moot;
use crate::weight::StoredRows;

/// Numbers that an instruction multiplies and adds up at once.
const QUAD: usize = 4;
/// What is added to the whole numbers of rows.
const OFFSET: i32 = 128;
/// Greatest magnitude of the whole numbers of rows.
const GREATEST: f32 = 127.0;
/// Number of multiplications from which on several cores are faster.
const PARALLEL_MIN: usize = 1 << 22;
/// Rows that stay in a core's L2 cache while all of a task's panels pass.
const ROWS: usize = 512;

/// What a machine's cores can do with whole numbers of 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instructions {
    Vnni,
    Avx2,
}

impl Instructions {
    fn of_machine() -> Option<Self> {
        Self::all().next()
    }

    /// All that this machine has, best first.
    fn all() -> impl Iterator<Item = Self> {
        let vnni = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        vnni.then_some(Self::Vnni).into_iter().chain(avx2.then_some(Self::Avx2))
    }

    /// Rows of a tile.
    const fn rows(self) -> usize {
        match self {
            Self::Vnni => 12,
            Self::Avx2 => 6,
        }
    }

    /// Greatest magnitude of the whole numbers of weights.
    const fn greatest(self) -> f32 {
        match self {
            Self::Vnni => 127.0,
            Self::Avx2 => 64.0,
        }
    }
}

/// Whether this machine has the instructions.
pub(crate) fn is_supported() -> bool {
    Instructions::of_machine().is_some()
}

/// A weight of 8 bits.
#[derive(Debug)]
pub(crate) struct Int8 {
    /// `[panels, in / QUAD, PANEL, QUAD]`
    numbers: Vec<i8>,
    /// What the numbers of each output are multiplied by, `[panels, PANEL]`.
    scales: Vec<f32>,
    /// What each output's sum has too much, `[panels, PANEL]`.
    excess: Vec<i32>,
    size: [usize; 2],
    with: Instructions,
}

/// A panel's numbers and scales, and what its sums have too much.
type OfPanel<'a> = ((&'a mut [i8], &'a mut [f32]), &'a mut [i32]);

impl Int8 {
    /// Rounds rows, if this machine has the instructions.
    pub(crate) fn of(rows: &dyn StoredRows) -> Option<Self> {
        Instructions::of_machine().map(|with| Self::for_machine(rows, with))
    }

    fn for_machine(rows: &dyn StoredRows, with: Instructions) -> Self {
        let [outputs, inputs] = rows.size();
        let (panels, depth) = (outputs.div_ceil(PANEL), inputs.next_multiple_of(QUAD));
        let mut numbers = vec![0_i8; panels * depth * PANEL];
        let mut scales = vec![0.0; panels * PANEL];
        let mut excess = vec![0; panels * PANEL];
        let of_panel = |(panel, ((numbers, scales), excess)): (usize, OfPanel<'_>)| {
            let mut values = vec![0.0; inputs];
            for (lane, row) in (panel * PANEL..outputs.min((panel + 1) * PANEL)).enumerate() {
                rows.expand(row, 0..inputs, &mut values);
                let scale = greatest(&values) / with.greatest();
                scales[lane] = scale;
                let mut sum = 0;
                for (at, value) in values.iter().enumerate() {
                    let whole = if scale > 0.0 { (value / scale).round_ties_even() } else { 0.0 };
                    sum += whole as i32;
                    numbers[(at / QUAD * PANEL + lane) * QUAD + at % QUAD] = whole as i8;
                }
                excess[lane] = OFFSET * sum;
            }
        };
        let of_panels = numbers.par_chunks_mut((depth * PANEL).max(1));
        of_panels.zip(scales.par_chunks_mut(PANEL)).zip(excess.par_chunks_mut(PANEL)).enumerate().for_each(of_panel);
        Self { numbers, scales, excess, size: [outputs, inputs], with }
    }

    /// `x Wᵀ + b`, or `None` if fused loops can't read the tensors.
    ///
    /// # Shapes
    /// - `x`: `[rows, in]`
    /// - `bias`: `[1, out]`
    /// - result: `[rows, out]`
    pub(crate) fn linear<B: Backend>(&self, x: &Tensor<B, 2>, bias: Option<&Tensor<B, 2>>) -> Option<Tensor<B, 2>> {
        let [outputs, inputs] = self.size;
        let x = Strided::of(x).filter(|x| x.size()[1] == inputs)?;
        let bias = match bias {
            Some(bias) => Some(HostRows::of(bias).filter(|bias| bias.as_slice().len() == outputs)?),
            None => None,
        };
        let rows = x.size()[0];
        let multiplications = rows * inputs * outputs;
        if multiplications == 0 {
            return None;
        }
        if is_moot(multiplications) {
            return Some(flex::made(vec![0.0; rows * outputs], [rows, outputs]));
        }
        let threads = if multiplications >= PARALLEL_MIN { rayon::current_num_threads() } else { 1 };
        let y = self.products(x.matrix(), bias.as_ref().map(HostRows::as_slice), threads);
        Some(flex::made(y, [rows, outputs]))
    }

    fn products(&self, x: Matrix, bias: Option<&[f32]>, threads: usize) -> Vec<f32> {
        let ([outputs, inputs], rows) = (self.size, x.size()[0]);
        let depth = inputs.div_ceil(QUAD);
        let groups = Groups::new(rows, self.with.rows());
        let (numbers, scales) = rounded(x, groups, threads > 1);
        let mut biases = bias.unwrap_or(&[]).to_vec();
        biases.resize(outputs.next_multiple_of(PANEL), 0.0);
        let of_rows: Vec<Range<usize>> = split(groups.len(), rows.div_ceil(ROWS), 1).collect();
        let parts = if threads > 1 { (threads * TASKS).div_ceil(of_rows.len()) } else { 1 };
        let of_panels: Vec<Range<usize>> = split(outputs.div_ceil(PANEL), parts, 1).collect();
        filled(rows * inputs * outputs, rows * outputs, |y, ends| {
            let task = |index: usize| {
                if ends.now() {
                    return;
                }
                let (within, panels) = (&of_rows[index / of_panels.len()], &of_panels[index % of_panels.len()]);
                for panel in panels.clone() {
                    for group in within.clone() {
                        let rows = groups.get(group);
                        let numbers = &numbers[rows.start * depth..rows.end * depth];
                        self.tile(numbers, &scales[rows.clone()], panel, &biases, (y, rows.start));
                    }
                }
            };
            let tasks = of_rows.len() * of_panels.len();
            match threads > 1 {
                true => on_all_cores(0..tasks, task),
                false => (0..tasks).for_each(task),
            }
        })
    }

    /// A group of rows by a panel.
    #[allow(unsafe_code, reason = "tiles are pointers into the factors and the result")]
    fn tile(&self, numbers: &[i32], scales: &[f32], panel: usize, biases: &[f32], (y, row): (&Shared, usize)) {
        let [outputs, inputs] = self.size;
        let (rows, depth) = (scales.len(), inputs.div_ceil(QUAD));
        let mut near = [0.0; MOST_ROWS * PANEL];
        let columns = panel * PANEL..outputs.min((panel + 1) * PANEL);
        let of_panel = Panel {
            numbers: self.numbers[panel * depth * QUAD * PANEL..][..depth * QUAD * PANEL].as_ptr(),
            excess: self.excess[panel * PANEL..][..PANEL].as_ptr(),
            scales: self.scales[panel * PANEL..][..PANEL].as_ptr(),
            biases: biases[panel * PANEL..][..PANEL].as_ptr(),
        };
        let sums = Sums { first: near.as_mut_ptr(), stride: PANEL };
        // SAFETY: there are as many rows as a tile has, of `depth` numbers, and the panel's slices have its size; `near` has room for the tile.
        unsafe {
            match self.with {
                Instructions::Vnni => {
                    by_rows!(rows, vnni::tile, [1 2 3 4 5 6 7 8 9 10 11 12], (depth, numbers.as_ptr(), scales.as_ptr(), of_panel, sums));
                }
                Instructions::Avx2 => {
                    for half in 0..2 {
                        let (of_panel, sums) =
                            (of_panel.from(half * PANEL / 2), Sums { first: sums.first.add(half * PANEL / 2), ..sums });
                        by_rows!(rows, avx2::tile, [1 2 3 4 5 6], (depth, numbers.as_ptr(), scales.as_ptr(), of_panel, sums));
                    }
                }
            }
        }
        for (at, near) in near.chunks_exact(PANEL).take(rows).enumerate() {
            // SAFETY: no other task writes these elements.
            unsafe {
                y.at((row + at) * outputs + columns.start).copy_from_nonoverlapping(near.as_ptr(), columns.len())
            };
        }
    }
}

impl StoredRows for Int8 {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn block(&self) -> usize {
        1
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        let depth = self.size[1].next_multiple_of(QUAD);
        let panel = &self.numbers[row / PANEL * depth * PANEL..][..depth * PANEL];
        let (lane, scale) = (row % PANEL, self.scales[row]);
        for (column, value) in columns.zip(values) {
            *value = scale * f32::from(panel[(column / QUAD * PANEL + lane) * QUAD + column % QUAD]);
        }
    }
}

/// The greatest magnitude; not a number if one of them is none.
fn greatest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| if value.abs() > most || value.is_nan() { value.abs() } else { most })
}

/// Rows as whole numbers: for each group, for each column of [`QUAD`] numbers, those of the group's rows. And what the numbers of each row are multiplied by, which is
/// not a number if one of the row's is none.
fn rounded(x: Matrix, groups: Groups, parallel: bool) -> (Vec<i32>, Vec<f32>) {
    let ([rows, inputs], [stride, step]) = (x.size(), x.strides());
    let depth = inputs.div_ceil(QUAD);
    let mut numbers = vec![0_i32; rows * depth];
    let mut scales = vec![0.0; rows];
    let mut work = Vec::with_capacity(groups.len());
    let (mut rest, mut rest_of_scales) = (numbers.as_mut_slice(), scales.as_mut_slice());
    for number in 0..groups.len() {
        let rows = groups.get(number);
        let (piece, after) = rest.split_at_mut(rows.len() * depth);
        let (scales, after_scales) = rest_of_scales.split_at_mut(rows.len());
        (rest, rest_of_scales) = (after, after_scales);
        work.push((rows, piece, scales));
    }
    let of_group = |(rows, numbers, scales): (Range<usize>, &mut [i32], &mut [f32])| {
        let mut values = vec![0.0; depth * QUAD];
        let group = rows.len();
        for (at, (row, scale)) in rows.zip(scales).enumerate() {
            let from = &x.data()[row * stride..];
            values[..inputs].iter_mut().enumerate().for_each(|(column, value)| *value = from[column * step]);
            *scale = greatest(&values) / GREATEST;
            let inverse = if *scale > 0.0 && scale.is_finite() { 1.0 / *scale } else { 0.0 };
            if scale.is_infinite() {
                *scale = f32::NAN;
            }
            for (quad, to) in values.chunks_exact(QUAD).zip(numbers[at..].iter_mut().step_by(group)) {
                *to = i32::from_le_bytes(core::array::from_fn(|at| whole(quad[at] * inverse)));
            }
        }
    };
    match parallel {
        true => on_all_cores(work.into_iter(), of_group),
        false => work.into_iter().for_each(of_group),
    }
    (numbers, scales)
}

/// The nearest whole number, plus [`OFFSET`]. With 1.5 · 2²³ added, it stands in the lowest bits of a number of single precision.
fn whole(value: f32) -> u8 {
    ((value + 12_582_912.0).to_bits() as u8).wrapping_add(OFFSET as u8)
}

/// Pointers to a panel's columns.
#[derive(Clone, Copy)]
struct Panel {
    numbers: *const i8,
    excess: *const i32,
    scales: *const f32,
    biases: *const f32,
}

impl Panel {
    /// From this column on.
    ///
    /// # Safety
    /// The panel has it.
    #[allow(unsafe_code, reason = "columns are pointers into a panel")]
    unsafe fn from(self, column: usize) -> Self {
        // SAFETY: as promised by the caller.
        unsafe {
            Self {
                numbers: self.numbers.add(column * QUAD),
                excess: self.excess.add(column),
                scales: self.scales.add(column),
                biases: self.biases.add(column),
            }
        }
    }
}

/// Where a tile's results go.
#[derive(Clone, Copy)]
struct Sums {
    first: *mut f32,
    stride: usize,
}

macro_rules! int8_tiles {
    ($module:ident, $features:literal, $lanes:literal, $whole:ty, $zero:ident, $load:ident, $all:ident, $less:ident, $float:ident, $load_float:ident, $all_float:ident, $times:ident, $multiply_add:ident, $store:ident, |$sum:ident, $row:ident, $weights:ident| $add_products:expr) => {
        #[allow(unsafe_code, reason = "vectors are loaded from pointers")]
        mod $module {
            use core::arch::x86_64::*;

            use super::{PANEL, Panel, QUAD, Sums};

            /// # Safety
            /// The machine has these instructions. `rows` has `depth` columns of `M` numbers, `scales` has `M`, and the panel has two vectors of columns, of `depth` rows.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn tile<const M: usize>(
                depth: usize,
                mut rows: *const i32,
                scales: *const f32,
                panel: Panel,
                to: Sums,
            ) {
                // SAFETY: see the contract.
                unsafe {
                    let mut numbers = panel.numbers;
                    let mut sums = [[$zero(); 2]; M];
                    for _ in 0..depth {
                        let both = [$load(numbers.cast()), $load(numbers.add($lanes * QUAD).cast())];
                        for (at, sums) in sums.iter_mut().enumerate() {
                            let $row = $all(*rows.add(at));
                            for ($sum, $weights) in sums.iter_mut().zip(both) {
                                *$sum = $add_products;
                            }
                        }
                        rows = rows.wrapping_add(M);
                        numbers = numbers.wrapping_add(PANEL * QUAD);
                    }
                    for half in 0..2 {
                        let excess: $whole = $load(panel.excess.add(half * $lanes).cast());
                        let of_columns = $load_float(panel.scales.add(half * $lanes));
                        let biases = $load_float(panel.biases.add(half * $lanes));
                        for (at, sums) in sums.iter().enumerate() {
                            let sum = $times($float($less(sums[half], excess)), $all_float(*scales.add(at)));
                            $store(
                                to.first.add(at * to.stride + half * $lanes),
                                $multiply_add(sum, of_columns, biases),
                            );
                        }
                    }
                }
            }
        }
    };
}

int8_tiles!(
    vnni,
    "avx512f,avx512vnni",
    16,
    __m512i,
    _mm512_setzero_si512,
    _mm512_loadu_si512,
    _mm512_set1_epi32,
    _mm512_sub_epi32,
    _mm512_cvtepi32_ps,
    _mm512_loadu_ps,
    _mm512_set1_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_storeu_ps,
    |sum, row, weights| _mm512_dpbusd_epi32(*sum, row, weights)
);
int8_tiles!(
    avx2,
    "avx2,fma",
    8,
    __m256i,
    _mm256_setzero_si256,
    _mm256_loadu_si256,
    _mm256_set1_epi32,
    _mm256_sub_epi32,
    _mm256_cvtepi32_ps,
    _mm256_loadu_ps,
    _mm256_set1_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    _mm256_storeu_ps,
    |sum, row, weights| _mm256_add_epi32(
        *sum,
        _mm256_madd_epi16(_mm256_maddubs_epi16(row, weights), _mm256_set1_epi16(1))
    )
);

#[cfg(test)]
mod tests;
