//! How a tensor of a published checkpoint is stored in a GGUF file.

use core::ops::Range;
use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{DType, TensorData};
use stepfn_kernels::weight::{ChosenRows, StoredRows};

use super::blocks::Blocks;
use crate::checkpoint::Contents;
use crate::checkpoint::rows::FileRows;

/// How elements are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(super) blocks: &'static Blocks,
    pub(super) order: Order,
}

/// What llama.cpp's converter did to a published tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Nothing.
    Same,
    /// In each of so many heads, it took one row of the first half, one of the second, and so on: llama.cpp rotates adjacent rows, published
    /// models rotate halves.
    Interleaved(usize),
    /// It put the queries of so many heads before their keys, and these before their values, which published models store head by head.
    Regrouped(usize),
    /// It transposed the matrix.
    Transposed,
    /// It added 1.
    PlusOne,
}

impl Order {
    /// How many rows belong together, if rows are moved.
    pub(super) fn rows_moved_in(self) -> Option<usize> {
        match self {
            Self::Interleaved(heads) => Some(2 * heads),
            Self::Regrouped(heads) => Some(3 * heads),
            Self::Same | Self::Transposed | Self::PlusOne => None,
        }
    }

    /// The file's row for one of the `rows` rows of the published tensor.
    fn row(self, row: usize, rows: usize) -> usize {
        match self {
            Self::Interleaved(heads) => {
                let head_dim = rows / heads;
                let (head, within) = (row / head_dim, row % head_dim);
                let half = head_dim / 2;
                head * head_dim + 2 * (within % half) + within / half
            }
            Self::Regrouped(heads) => {
                let head_dim = rows / heads / 3;
                let (head, within) = (row / (3 * head_dim), row % (3 * head_dim));
                within / head_dim * (heads * head_dim) + head * head_dim + within % head_dim
            }
            Self::Same | Self::Transposed | Self::PlusOne => row,
        }
    }
}

impl Stored {
    /// The published tensor, as f32 unless the file has its floats as they are. `bytes` must have the length that the published `shape`
    /// needs.
    pub(crate) fn read(self, bytes: &[u8], shape: &[usize]) -> TensorData {
        let bytes = self.rows(bytes, shape);
        let as_they_are = matches!(self.order, Order::Same | Order::Interleaved(_) | Order::Regrouped(_));
        if let Some(dtype) = self.blocks.float().filter(|_| as_they_are) {
            return TensorData::from_bytes_vec(bytes.into_owned(), shape.to_vec(), dtype);
        }
        let mut values = self.blocks.values(&bytes);
        match (self.order, shape) {
            (Order::PlusOne, _) => values.iter_mut().for_each(|value| *value -= 1.0),
            (Order::Transposed, &[rows, columns]) => values = transposed(&values, rows, columns),
            _ => {}
        }
        let data = TensorData::new(values, shape.to_vec());
        debug_assert_eq!(data.dtype, DType::F32);
        data
    }

    /// The rows of the published matrix, or of its transpose, as they are in this place of the file. `None` if they aren't rows there, or are
    /// no smaller than in single precision.
    pub(crate) fn rows_in(
        self,
        contents: &Contents,
        place: &Range<usize>,
        [rows, columns]: [usize; 2],
        transposed: bool,
    ) -> Option<Arc<dyn StoredRows>> {
        let size = match (self.order, transposed) {
            (Order::Same | Order::Interleaved(_) | Order::Regrouped(_), false) => [rows, columns],
            (Order::Transposed, true) => [columns, rows],
            _ => return None,
        };
        let is_smaller = self.blocks.bytes < size_of::<f32>() * self.blocks.elements;
        let stored = FileRows::new(contents, place, size, self.blocks.format()).filter(|_| is_smaller)?;
        Some(match self.order.rows_moved_in() {
            Some(_) => Arc::new(ChosenRows::new(Arc::new(stored), (0..rows).map(|row| self.order.row(row, rows)))),
            None => Arc::new(stored),
        })
    }

    /// The bytes with rows in the published order. Blocks don't span rows.
    fn rows<'a>(&self, bytes: &'a [u8], shape: &[usize]) -> Cow<'a, [u8]> {
        let rows = shape.first().copied().unwrap_or(0);
        if self.order.rows_moved_in().is_none() || rows == 0 {
            return Cow::Borrowed(bytes);
        }
        let per_row = bytes.len() / rows;
        let row = |row: usize| {
            let at = self.order.row(row, rows) * per_row;
            &bytes[at..at + per_row]
        };
        let mut moved = Vec::with_capacity(bytes.len());
        (0..rows).for_each(|at| moved.extend_from_slice(row(at)));
        Cow::Owned(moved)
    }
}

/// The transpose, with so many rows and columns.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows).flat_map(|row| (0..columns).map(move |column| values[column * rows + row])).collect()
}
