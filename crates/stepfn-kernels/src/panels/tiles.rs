//! The inner loops of products with [`Panels`](super::Panels): a few rows by one panel, with all sums in registers.
//!
//! Both sums run over the terms in order, one multiply-add each. So an element does not depend on the instruction set, on the tile that it is in, or on
//! what other rows there are.

use burn::tensor::{bf16, f16};

use super::PANEL;

/// What a machine's cores can do. A value says that they can, so only [`all`](Instructions::all) makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    Avx512,
    Avx2,
}

impl Instructions {
    /// The best that this machine has.
    pub(super) fn of_machine() -> Option<Self> {
        Self::all().next()
    }

    /// All that this machine has, best first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let wide = is_x86_feature_detected!("avx512f").then_some(Self::Avx512);
        let narrow =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        let narrow = narrow.then_some(Self::Avx2);
        wide.into_iter().chain(narrow)
    }

    /// Rows of a tile: as many as there are registers for.
    pub(super) const fn rows(self) -> usize {
        match self {
            Self::Avx512 => 12,
            Self::Avx2 => 6,
        }
    }
}

/// Greatest number of rows of a tile.
pub(super) const MOST_ROWS: usize = 12;

/// Rows of a dot product that share what they read of a weight.
pub(super) const MOST_DOTS: usize = 8;

/// Where a tile's sums start.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// At 0.
    Zero,
    /// At the numbers that are in the target.
    Target,
    /// At these numbers, one for each of the panel's columns.
    Bias(*const f32),
}

/// The target of a tile: its first element, and the distance of its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) first: *mut f32,
    pub(super) stride: usize,
}

/// Calls a function whose first parameter of type is a number of rows.
macro_rules! by_rows {
    ($rows:expr, $module:ident :: $name:ident, [$($count:literal)*], $arguments:tt) => {
        match $rows {
            $($count => by_rows!(@call $module, $name, $count, $arguments),)*
            _ => unreachable!("a tile has no more rows than there are registers for"),
        }
    };
    (@call $module:ident, $name:ident, $count:literal, ($($argument:expr),*)) => {
        $module::$name::<$count>($($argument),*)
    };
}
pub(super) use by_rows;

macro_rules! tiles {
    (
        $module:ident, $features:literal, $vector:ty, $lanes:literal, $zero:ident, $load:ident, $store:ident, $all:ident, $multiply_add:ident, $add:ident,
        f16: $load_f16:expr, bf16: $load_bf16:expr
    ) => {
        #[allow(unsafe_code, reason = "vectors are loaded from pointers")]
        mod $module {
            use core::arch::x86_64::*;

            use burn::tensor::{bf16, f16};

            use super::{PANEL, Start, Target};

            /// Adds to `sums` the products of `depth` columns of `M` numbers, each `STEP` after the last, by rows of a panel. Numbers of a
            /// column are `APART`.
            macro_rules! add_products {
                ($sums:ident, $depth:expr, $numbers:ident, $apart:expr, $step:expr, $panel:ident, $load_panel:expr) => {
                    for _ in 0..$depth {
                        let (left, right) = ($load_panel($panel), $load_panel($panel.add($lanes)));
                        for (row, sums) in $sums.iter_mut().enumerate() {
                            let number = $all(*$numbers.add(row * $apart));
                            sums[0] = $multiply_add(number, left, sums[0]);
                            sums[1] = $multiply_add(number, right, sums[1]);
                        }
                        $numbers = $numbers.wrapping_add($step);
                        $panel = $panel.wrapping_add(PANEL);
                    }
                };
            }

            macro_rules! finish {
                ($sums:ident, $start:expr, $target:expr) => {
                    let Target { first, stride } = $target;
                    for (row, sums) in $sums.iter_mut().enumerate() {
                        let at = match $start {
                            Start::Zero => None,
                            Start::Target => Some(first.add(row * stride).cast_const()),
                            Start::Bias(bias) => Some(bias),
                        };
                        if let Some(at) = at {
                            sums[0] = $add(sums[0], $load(at));
                            sums[1] = $add(sums[1], $load(at.add($lanes)));
                        }
                    }
                    for (row, sums) in $sums.iter().enumerate() {
                        let at = first.add(row * stride);
                        $store(at, sums[0]);
                        $store(at.add($lanes), sums[1]);
                    }
                };
            }

            macro_rules! forward {
                ($name:ident, $number:ty, $load_panel:expr) => {
                    /// # Safety
                    /// As [`forward`](super::forward), for the columns of two vectors and on a machine with these instructions.
                    #[target_feature(enable = $features)]
                    pub(super) unsafe fn $name<const M: usize>(
                        depth: usize,
                        mut numbers: *const f32,
                        mut panel: *const $number,
                        start: Start,
                        target: Target,
                    ) {
                        // SAFETY: see the caller's contract.
                        unsafe {
                            let mut sums = [[$zero(); 2]; M];
                            add_products!(sums, depth, numbers, 1, M, panel, $load_panel);
                            finish!(sums, start, target);
                        }
                    }
                };
            }
            forward!(forward, f32, $load);
            forward!(forward_f16, f16, $load_f16);
            forward!(forward_bf16, bf16, $load_bf16);

            /// # Safety
            /// As [`backward`](super::backward), for the columns of two vectors and on a machine with these instructions.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn backward<const M: usize>(
                panels: usize,
                mut weight: *const f32,
                weight_stride: usize,
                mut panel: *const f32,
                start: Start,
                target: Target,
            ) {
                // SAFETY: see the caller's contract. Prefetching does not fault.
                unsafe {
                    let mut sums = [[$zero(); 2]; M];
                    for _ in 0..panels {
                        let mut numbers = weight;
                        // The rows that come next, which lie behind these.
                        for line in 0..M * PANEL / 16 {
                            _mm_prefetch::<_MM_HINT_T0>(weight.wrapping_add(M * PANEL + line * 16).cast());
                        }
                        add_products!(sums, PANEL, numbers, PANEL, 1, panel, $load);
                        weight = weight.wrapping_add(weight_stride);
                    }
                    finish!(sums, start, target);
                }
            }

            /// # Safety
            /// As [`dots`](super::dots), on a machine with these instructions.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn dots<const M: usize>(
                panels: usize,
                weight: *const f32,
                weight_stride: usize,
                rows: *const f32,
                row_stride: usize,
                results: &mut [f32],
            ) {
                // SAFETY: see the caller's contract.
                unsafe {
                    let mut sums = [$zero(); M];
                    for panel in 0..panels {
                        for lane in (0..PANEL).step_by($lanes) {
                            let weights = $load(weight.add(panel * weight_stride + lane));
                            for (row, sum) in sums.iter_mut().enumerate() {
                                let numbers = $load(rows.add(row * row_stride + panel * PANEL + lane));
                                *sum = $multiply_add(numbers, weights, *sum);
                            }
                        }
                    }
                    for (sum, result) in sums.iter().zip(results) {
                        let mut lanes = [0.0; $lanes];
                        $store(lanes.as_mut_ptr(), *sum);
                        *result = lanes.iter().sum();
                    }
                }
            }
        }
    };
}

tiles!(
    avx512,
    "avx512f",
    __m512,
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    f16: |at: *const f16| _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())),
    // The upper half of a number in single precision.
    bf16: |at: *const bf16| {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()))))
    }
);
tiles!(
    avx2,
    "avx2,fma,f16c",
    __m256,
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    f16: |at: *const f16| _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
    bf16: |at: *const bf16| {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()))))
    }
);

/// Columns that [`avx2`] computes at a time.
const HALF: usize = 16;

impl Start {
    #[allow(unsafe_code, reason = "a pointer to the second half of a panel's columns")]
    fn half(self, half: usize) -> Self {
        match self {
            // `wrapping_add`, because only loads need the pointer to be valid.
            Self::Bias(bias) => Self::Bias(bias.wrapping_add(half * HALF)),
            other => other,
        }
    }
}

/// Rows of a panel, as they are stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum PanelRows {
    F32(*const f32),
    F16(*const f16),
    Bf16(*const bf16),
}

impl PanelRows {
    /// From the first column of a half on.
    fn half(self, half: usize) -> Self {
        // `wrapping_add`, because only loads need the pointer to be valid.
        match self {
            Self::F32(rows) => Self::F32(rows.wrapping_add(half * HALF)),
            Self::F16(rows) => Self::F16(rows.wrapping_add(half * HALF)),
            Self::Bf16(rows) => Self::Bf16(rows.wrapping_add(half * HALF)),
        }
    }
}

macro_rules! forward_by_rows {
    ($rows:expr, $panel:expr, $module:ident, $counts:tt, ($depth:expr, $numbers:expr, $start:expr, $target:expr)) => {
        match $panel {
            PanelRows::F32(panel) => {
                by_rows!($rows, $module::forward, $counts, ($depth, $numbers, panel, $start, $target))
            }
            PanelRows::F16(panel) => {
                by_rows!($rows, $module::forward_f16, $counts, ($depth, $numbers, panel, $start, $target))
            }
            PanelRows::Bf16(panel) => {
                by_rows!($rows, $module::forward_bf16, $counts, ($depth, $numbers, panel, $start, $target))
            }
        }
    };
}

/// `target = start + numbersᵀ · panel`, `[rows, PANEL]`.
///
/// # Safety
/// `rows` is from 1 to [`rows`](Instructions::rows) of instructions that the machine has. `numbers` has `depth` columns of `rows` numbers, `panel` `depth` rows. The
/// target's rows, and those of a bias, have [`PANEL`] elements to which there is access.
#[inline]
#[allow(unsafe_code, reason = "tiles are pointers into the factors and the target")]
pub(super) unsafe fn forward(
    with: Instructions,
    [rows, depth]: [usize; 2],
    numbers: *const f32,
    panel: PanelRows,
    start: Start,
    target: Target,
) {
    // SAFETY: as promised by the caller; each half has its own columns.
    unsafe {
        match with {
            Instructions::Avx512 => {
                forward_by_rows!(rows, panel, avx512, [1 2 3 4 5 6 7 8 9 10 11 12], (depth, numbers, start, target));
            }
            Instructions::Avx2 => {
                for half in 0..PANEL / HALF {
                    let target = Target { first: target.first.add(half * HALF), ..target };
                    let (panel, start) = (panel.half(half), start.half(half));
                    forward_by_rows!(rows, panel, avx2, [1 2 3 4 5 6], (depth, numbers, start, target));
                }
            }
        }
    }
}

/// `target = start + weightᵀ · panel`, `[rows, PANEL]`, where the weight's rows are those of panels: `PANEL` numbers for each panel, to which as many rows of
/// `panel` belong.
///
/// # Safety
/// As [`forward`], where `weight` has `rows` rows of [`PANEL`] numbers in each of `panels`, which are `weight_stride` apart, and `panel` as many times [`PANEL`] rows.
#[inline]
#[allow(unsafe_code, reason = "tiles are pointers into the factors and the target")]
pub(super) unsafe fn backward(
    with: Instructions,
    [rows, panels]: [usize; 2],
    (weight, weight_stride): (*const f32, usize),
    panel: *const f32,
    start: Start,
    target: Target,
) {
    // SAFETY: as promised by the caller; each half has its own columns.
    unsafe {
        match with {
            Instructions::Avx512 => {
                by_rows!(rows, avx512::backward, [1 2 3 4 5 6 7 8 9 10 11 12], (panels, weight, weight_stride, panel, start, target));
            }
            Instructions::Avx2 => {
                for half in 0..PANEL / HALF {
                    let target = Target { first: target.first.add(half * HALF), ..target };
                    let (panel, start) = (panel.add(half * HALF), start.half(half));
                    by_rows!(rows, avx2::backward, [1 2 3 4 5 6], (panels, weight, weight_stride, panel, start, target));
                }
            }
        }
    }
}

/// Products of one row of a weight's panels by some rows of numbers: `results[m] = Σ weight[panel, lane] · rows[m, panel · PANEL + lane]`.
///
/// # Safety
/// There are from 1 to [`MOST_DOTS`] results, and as many rows of `panels` times [`PANEL`] numbers, which are `row_stride` apart. `weight` has [`PANEL`] numbers in each
/// of the panels, which are `weight_stride` apart. The machine has the instructions.
#[inline]
#[allow(unsafe_code, reason = "rows are pointers into the factors")]
pub(super) unsafe fn dots(
    with: Instructions,
    panels: usize,
    (weight, weight_stride): (*const f32, usize),
    (rows, row_stride): (*const f32, usize),
    results: &mut [f32],
) {
    // SAFETY: as promised by the caller.
    unsafe {
        match with {
            Instructions::Avx512 => {
                by_rows!(results.len(), avx512::dots, [1 2 3 4 5 6 7 8], (panels, weight, weight_stride, rows, row_stride, results));
            }
            Instructions::Avx2 => {
                by_rows!(results.len(), avx2::dots, [1 2 3 4 5 6 7 8], (panels, weight, weight_stride, rows, row_stride, results));
            }
        }
    }
}
