//! Looks up parameters by our names in a family's checkpoint.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use burn::tensor::{DType, Tensor, backend::Backend};
use stepfn_kernels::weight::{ChosenRows, StoredRows, Weight};

use crate::ModelError;
use crate::families::Family;
use crate::names::{Layout, Name, Packed};
use crate::source::TensorSource;

/// Reads the parameters of one model from their source. A stored tensor that contains several parameters is read once.
pub(crate) struct Parameters<'a, B: Backend> {
    source: &'a dyn TensorSource<B>,
    family: &'static Family,
    names: Vec<Name>,
    /// The type of tensors.
    dtype: DType,
    /// Whether weights are rounded to 8 bits.
    int8: bool,
    device: &'a B::Device,
    /// The last two that were read: a layer's projections come from one.
    matrices: RefCell<Vec<(String, Tensor<B, 2>)>>,
    /// Weights by the tensor that they are, and whether it is transposed.
    weights: RefCell<HashMap<(String, bool), Weight<B>>>,
    /// How many experts the model has in a layer.
    experts: usize,
    /// The last two tensors of all experts that were read: an expert's projections come from two.
    stacked: RefCell<Vec<(String, Tensor<B, 2>)>>,
    used: RefCell<HashSet<String>>,
}

/// Row counts of the three parameters that a family may store in one tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedRows {
    /// Rows of each, in order.
    pub(crate) rows: [usize; 3],
    /// Width of a head.
    pub(crate) head_dim: usize,
}

impl<'a, B: Backend> Parameters<'a, B> {
    pub(crate) fn new(
        source: &'a dyn TensorSource<B>,
        family: &'static Family,
        names: Vec<Name>,
        dtype: DType,
        device: &'a B::Device,
    ) -> Self {
        let (matrices, weights, stacked, used) = Default::default();
        let int8 = dtype == DType::I8;
        let dtype = if int8 { DType::F32 } else { dtype };
        Self { source, family, names, dtype, int8, device, matrices, weights, experts: 0, stacked, used }
    }

    /// The same of a model with so many experts in a layer.
    pub(crate) fn with_experts(self, experts: usize) -> Self {
        Self { experts, ..self }
    }

    /// The device of the parameters.
    pub(crate) fn device(&self) -> B::Device {
        self.device.clone()
    }

    /// The weight `[rows, columns]` of a linear layer or an embedding; `name` has no `.weight`. It stays in the form in which the source has its
    /// rows if that is blocks that products of this backend can expand, unless it is rounded to 8 bits. Otherwise it is laid out for products, in half precision if it is
    /// stored so: once if several parameters are the same whole tensor, as a head and an embedding.
    pub(crate) fn weight(
        &self,
        name: &str,
        shape: [usize; 2],
        packed: Option<PackedRows>,
    ) -> Result<Weight<B>, ModelError> {
        let Found { stored, layout, .. } = self.find(name, "weight")?;
        let is_whole = matches!(layout, Layout::Whole | Layout::Transposed);
        let key = (stored, layout == Layout::Transposed);
        if let Some(weight) = self.weights.borrow().get(&key).filter(|weight| is_whole && weight.size() == shape) {
            return Ok(weight.clone());
        }
        let rows = match Weight::<B>::expands_tiles(self.dtype) {
            true => self.rows(name, shape, packed)?,
            false => None,
        };
        let weight = match (rows, self.int8) {
            (Some(rows), false) => Weight::of_stored(rows),
            (Some(rows), true) => Weight::Stored(rows).in_int8(),
            (None, false) => Weight::of(self.matrix(name, shape, packed)?),
            (None, true) => Weight::Tensor(self.matrix(name, shape, packed)?).in_int8(),
        };
        if is_whole {
            self.weights.borrow_mut().insert(key, weight.clone());
        }
        Ok(weight)
    }

    /// A weight in the form in which the source has it. `None` if it has to be read; that is where another shape is reported.
    fn rows(
        &self,
        name: &str,
        [rows, columns]: [usize; 2],
        packed: Option<PackedRows>,
    ) -> Result<Option<Arc<dyn StoredRows>>, ModelError> {
        let Found { stored, layout, expert } = self.find(name, "weight")?;
        if let Layout::Stacked(which) = layout {
            let (rows, total) = in_stack(which, packed, rows);
            let of_shape = |matrix: &Arc<dyn StoredRows>| matrix.size() == [self.experts * total, columns];
            let matrix = self.source.rows(&stored, false).filter(of_shape).filter(|_| expert < self.experts);
            let first = expert * total;
            return Ok(matrix.map(|matrix| {
                Arc::new(ChosenRows::new(matrix, first + rows.start..first + rows.end)) as Arc<dyn StoredRows>
            }));
        }
        // The numbers of one of its rows are not next to each other, nor are they those of one row of the transpose.
        if let Layout::StackedColumns(_) = layout {
            return Ok(None);
        }
        let is_part = matches!(layout, Layout::Rows(_) | Layout::Columns(_) | Layout::PerHead(_) | Layout::Quarters(_));
        let total = packed.filter(|_| is_part).map_or(rows, |packed| packed.rows.iter().sum());
        let transposed = matches!(layout, Layout::Transposed | Layout::Columns(_));
        let of_shape = |matrix: &Arc<dyn StoredRows>| matrix.size() == [total, columns];
        let Some(matrix) = self.source.rows(&stored, transposed).filter(of_shape) else { return Ok(None) };
        Ok(Some(match layout {
            Layout::Whole | Layout::Transposed | Layout::RowVector => matrix,
            Layout::Stacked(_) | Layout::StackedColumns(_) => return Ok(None),
            Layout::Rows(which) | Layout::Columns(which) => {
                Arc::new(ChosenRows::new(matrix, rows_of(which, packed, rows)))
            }
            Layout::PerHead(which) => {
                let (members, taken, head_dim) = in_group(which, packed, rows);
                let groups = rows / (taken.len() * head_dim);
                let of_member = |member: usize| member * head_dim..(member + 1) * head_dim;
                let of_group = |group| taken.clone().flat_map(move |member| of_member(group * members + member));
                Arc::new(ChosenRows::new(matrix, (0..groups).flat_map(of_group)))
            }
            Layout::Quarters(which) => {
                let (index, len) = (in_quarter(which), rows / 4);
                let of_quarter = |quarter: usize| (3 * quarter + index) * len..(3 * quarter + index + 1) * len;
                Arc::new(ChosenRows::new(matrix, (0..4).flat_map(of_quarter)))
            }
        }))
    }

    /// A matrix `[rows, columns]` as a tensor; `name` has no `.weight`.
    pub(crate) fn matrix(
        &self,
        name: &str,
        shape: [usize; 2],
        packed: Option<PackedRows>,
    ) -> Result<Tensor<B, 2>, ModelError> {
        let Found { stored, layout, expert } = self.find(name, "weight")?;
        let [rows, columns] = shape;
        if let Layout::Stacked(which) = layout {
            let (rows, total) = in_stack(which, packed, rows);
            let first = expert * total;
            let all = self.stacked_matrix(&stored, [self.experts, total, columns])?;
            return Ok(all.slice(first + rows.start..first + rows.end));
        }
        if let Layout::StackedColumns(which) = layout {
            let total = if which.is_some() { 2 * rows } else { rows };
            let all = self.stacked_matrix(&stored, [self.experts, columns, total])?;
            let of_expert = all.slice(expert * columns..(expert + 1) * columns);
            return Ok(in_turns(which, of_expert, rows).transpose());
        }
        let total = |packed: Option<PackedRows>| packed.map_or(rows, |packed| packed.rows.iter().sum());
        let in_file = match layout {
            Layout::Whole => [rows, columns],
            Layout::Transposed => [columns, rows],
            Layout::Rows(_) | Layout::PerHead(_) | Layout::Quarters(_) => [total(packed), columns],
            Layout::Columns(_) => [columns, total(packed)],
            Layout::RowVector | Layout::Stacked(_) | Layout::StackedColumns(_) => [1, columns],
        };
        let matrix = self.stored_matrix(&stored, in_file)?;
        Ok(match layout {
            Layout::Whole | Layout::RowVector | Layout::Stacked(_) | Layout::StackedColumns(_) => matrix,
            Layout::Transposed => matrix.transpose(),
            Layout::Rows(which) => matrix.slice(rows_of(which, packed, rows)),
            Layout::Columns(which) => matrix.transpose().slice(rows_of(which, packed, rows)),
            Layout::PerHead(which) => {
                let (members, taken, head_dim) = in_group(which, packed, rows);
                let groups = rows / (taken.len() * head_dim);
                let per_group = matrix.reshape([groups, members, head_dim, columns]);
                per_group.slice([0..groups, taken]).reshape([rows, columns])
            }
            Layout::Quarters(which) => {
                let index = in_quarter(which);
                let quarters = matrix.reshape([4, 3, rows / 4, columns]);
                quarters.slice([0..4, index..index + 1]).reshape([rows, columns])
            }
        })
    }

    /// A vector of `len` elements; `name` includes `.weight` or `.bias`.
    pub(crate) fn vector(
        &self,
        name: &str,
        len: usize,
        packed: Option<PackedRows>,
    ) -> Result<Tensor<B, 1>, ModelError> {
        let (base, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
        let Found { stored, layout, expert } = self.find(base, suffix)?;
        if let Layout::StackedColumns(which) = layout {
            let total = if which.is_some() { 2 * len } else { len };
            let all = self.source.tensor(&stored, &[self.experts, total], self.dtype, self.device)?.into_matrix();
            return Ok(in_turns(which, all.slice(expert..expert + 1), len).reshape([len]));
        }
        let total = packed.map_or(len, |packed| packed.rows.iter().sum());
        let shape = match layout {
            Layout::Whole | Layout::Transposed | Layout::Stacked(_) | Layout::StackedColumns(_) => vec![len],
            Layout::Rows(_) | Layout::Columns(_) | Layout::PerHead(_) | Layout::Quarters(_) => vec![total],
            Layout::RowVector => vec![1, len],
        };
        let vector = self.source.tensor(&stored, &shape, self.dtype, self.device)?.into_vector();
        Ok(match layout {
            Layout::Rows(which) | Layout::Columns(which) => vector.slice(rows_of(which, packed, len)),
            Layout::PerHead(which) => {
                let (members, taken, head_dim) = in_group(which, packed, len);
                let groups = len / (taken.len() * head_dim);
                vector.reshape([groups, members, head_dim]).slice([0..groups, taken]).reshape([len])
            }
            Layout::Quarters(which) => {
                let index = in_quarter(which);
                vector.reshape([4, 3, len / 4]).slice([0..4, index..index + 1]).reshape([len])
            }
            Layout::Whole | Layout::Transposed | Layout::RowVector | Layout::Stacked(_) | Layout::StackedColumns(_) => {
                vector
            }
        })
    }

    /// A number; `name` includes its suffix.
    pub(crate) fn number(&self, name: &str, shape: &[usize]) -> Result<f64, ModelError> {
        let (base, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
        let Found { stored, .. } = self.find(base, suffix)?;
        let vector = self.source.tensor(&stored, shape, self.dtype, self.device)?.into_vector();
        Ok(vector.into_data().iter::<f64>().next().unwrap_or_default())
    }

    /// Ones in the place of a parameter that the model doesn't have, `[1, size]`.
    pub(crate) fn ones(&self, size: usize) -> Tensor<B, 2> {
        Tensor::ones([1, size], (self.device, self.dtype))
    }

    /// Whether the source has a parameter; `name` includes `.weight` or `.bias`.
    pub(crate) fn has(&self, name: &str) -> bool {
        let (base, suffix) = name.rsplit_once('.').unwrap_or((name, ""));
        self.find(base, suffix).is_ok()
    }

    /// Checks that every tensor of the source was used or is ignored by the family.
    pub(crate) fn check_all_used(&self) -> Result<(), ModelError> {
        let used = self.used.borrow();
        let alternatives: HashSet<String> = self
            .names
            .iter()
            .flat_map(|name| [".weight", ".bias", ""].map(|suffix| format!("{}{suffix}", name.theirs)))
            .collect();
        let unused = self.source.names().into_iter().find(|stored| {
            let known =
                |stored: &str| used.contains(stored) || alternatives.contains(stored) || self.family.ignores(stored);
            let with_prefix = |prefix: &&str| known(&format!("{prefix}{stored}"));
            !known(stored) && !self.family.prefixes.iter().any(with_prefix)
        });
        match unused {
            Some(tensor) => Err(ModelError::UnusedTensor {
                path: self.source.location(&tensor).to_owned(),
                tensor,
                family: self.family.name,
            }),
            None => Ok(()),
        }
    }

    /// The stored tensor of a parameter, its layout, and which expert it is of.
    fn find(&self, base: &str, suffix: &str) -> Result<Found, ModelError> {
        let ours = format!("{base}.{suffix}");
        let mut first = None;
        for name in &self.names {
            let Some(numbers) = matched(name.ours, base).or_else(|| matched(name.ours, &ours)) else { continue };
            let theirs = numbers.iter().fold(name.theirs.to_owned(), |theirs, number| theirs.replacen("{}", number, 1));
            let theirs = if name.exact { theirs } else { format!("{theirs}.{suffix}") };
            if let Some(stored) = self.in_source(&theirs) {
                self.used.borrow_mut().insert(stored.clone());
                let expert = numbers.get(1).and_then(|number| number.parse().ok()).unwrap_or(0);
                return Ok(Found { stored, layout: name.layout, expert });
            }
            first.get_or_insert(theirs);
        }
        let tensor = first.unwrap_or(ours);
        Err(ModelError::MissingTensor { path: self.source.location(&tensor).to_owned(), tensor })
    }

    /// The tensor's name in the source, which may lack the family's prefix.
    fn in_source(&self, theirs: &str) -> Option<String> {
        let stripped = self.family.prefixes.iter().filter_map(|prefix| theirs.strip_prefix(prefix));
        core::iter::once(theirs).chain(stripped).find(|name| self.source.contains(name)).map(str::to_owned)
    }

    /// The matrices of all experts, one below the other.
    fn stacked_matrix(&self, stored: &str, shape: [usize; 3]) -> Result<Tensor<B, 2>, ModelError> {
        let [experts, rows, columns] = shape;
        recent(&self.stacked, stored, || {
            let matrix = self.source.tensor(stored, &shape, self.dtype, self.device)?.into_matrix();
            Ok(matrix.reshape([experts * rows, columns]))
        })
    }

    fn stored_matrix(&self, stored: &str, shape: [usize; 2]) -> Result<Tensor<B, 2>, ModelError> {
        recent(&self.matrices, stored, || {
            Ok(self.source.tensor(stored, &shape, self.dtype, self.device)?.into_matrix())
        })
    }
}

/// A matrix that is one of the last two, or is read and becomes the last.
fn recent<B: Backend>(
    last: &RefCell<Vec<(String, Tensor<B, 2>)>>,
    stored: &str,
    read: impl FnOnce() -> Result<Tensor<B, 2>, ModelError>,
) -> Result<Tensor<B, 2>, ModelError> {
    let mut last = last.borrow_mut();
    if let Some((_, matrix)) = last.iter().find(|(name, _)| name == stored) {
        return Ok(matrix.clone());
    }
    let matrix = read()?;
    last.insert(0, (stored.to_owned(), matrix.clone()));
    last.truncate(2);
    Ok(matrix)
}

/// Where a parameter is stored.
struct Found {
    stored: String,
    layout: Layout,
    expert: usize,
}

/// The rows of a parameter among those of its expert, and how many these are.
fn in_stack(which: Option<Packed>, packed: Option<PackedRows>, rows: usize) -> (core::ops::Range<usize>, usize) {
    match which {
        Some(which) => (rows_of(which, packed, rows), packed.map_or(rows, |packed| packed.rows.iter().sum())),
        None => (0..rows, rows),
    }
}

/// The columns of gate or up where these take turns, or all.
///
/// # Shapes
/// - `x`: `[rows, columns]`, or `[rows, 2 · columns]`; result: `[rows, columns]`
fn in_turns<B: Backend>(which: Option<Packed>, x: Tensor<B, 2>, columns: usize) -> Tensor<B, 2> {
    let Some(which) = which else { return x };
    let ([rows, _], index) = (x.dims(), index_of(which));
    x.reshape([rows, columns, 2]).slice([0..rows, 0..columns, index..index + 1]).reshape([rows, columns])
}

/// The numbers that each `{}` in `pattern` stands for if it matches `name`.
fn matched<'n>(pattern: &str, name: &'n str) -> Option<Vec<&'n str>> {
    let (mut pieces, mut rest, mut numbers) = (pattern.split("{}"), name, Vec::new());
    rest = rest.strip_prefix(pieces.next()?)?;
    for piece in pieces {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        numbers.push(number);
        rest = after.strip_prefix(piece)?;
    }
    (rest.is_empty() && numbers.iter().all(|number| !number.is_empty())).then_some(numbers)
}

fn index_of(which: Packed) -> usize {
    match which {
        Packed::Query | Packed::Gate => 0,
        Packed::Key | Packed::Up => 1,
        Packed::Value => 2,
    }
}

/// Of a group of query heads that share keys: how many heads it has with its key and its value, which of these are meant, and their width.
fn in_group(which: Packed, packed: Option<PackedRows>, rows: usize) -> (usize, core::ops::Range<usize>, usize) {
    let (group, head_dim) = packed.map_or((1, rows), |packed| (packed.rows[0] / packed.rows[1], packed.head_dim));
    let taken = match index_of(which) {
        0 => 0..group,
        index => group + index - 1..group + index,
    };
    (group + 2, taken, head_dim)
}

/// The place of one of them in a quarter, where values come before keys.
fn in_quarter(which: Packed) -> usize {
    [0, 2, 1][index_of(which)]
}

/// The rows of one of them.
fn rows_of(which: Packed, packed: Option<PackedRows>, rows: usize) -> core::ops::Range<usize> {
    let start = packed.map_or(0, |packed| packed.rows[..index_of(which)].iter().sum());
    start..start + rows
}
