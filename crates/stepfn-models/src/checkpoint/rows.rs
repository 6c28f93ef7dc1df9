//! Rows of matrices in files: numbers in half precision, or blocks of few-bit numbers, which are expanded when they are needed.

use core::fmt;
use core::ops::Range;

use burn::tensor::DType;
use stepfn_kernels::weight::StoredRows;

use super::Contents;

/// How elements are stored: in blocks of so many elements, in so many bytes.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub(crate) elements: usize,
    pub(crate) bytes: usize,
    /// A type that has each element as it is.
    pub(crate) dtype: DType,
    /// Writes the values of whole blocks.
    pub(crate) read: fn(&[u8], &mut [f32]),
}

/// Half precision with 5 bits of exponent.
pub(crate) const F16: Format =
    Format { elements: 1, bytes: 2, dtype: DType::F16, read: |bytes, values| each(bytes, values, f16) };
/// Half precision with 8 bits of exponent, as in single precision.
pub(crate) const BF16: Format =
    Format { elements: 1, bytes: 2, dtype: DType::BF16, read: |bytes, values| each(bytes, values, bf16) };

/// The rows of a matrix in a file.
pub(crate) struct FileRows {
    contents: Contents,
    /// The matrix in the file.
    place: Range<usize>,
    size: [usize; 2],
    format: Format,
}

impl FileRows {
    /// `None` if this place in the file doesn't have exactly the bytes that so many rows and columns need, or rows aren't whole blocks.
    pub(crate) fn new(
        contents: &Contents,
        place: &Range<usize>,
        [rows, columns]: [usize; 2],
        format: Format,
    ) -> Option<Self> {
        let Format { elements, bytes, .. } = format;
        let len = (columns / elements).checked_mul(bytes)?.checked_mul(rows)?;
        let fits = columns % elements == 0 && len == place.len() && place.end <= contents.bytes().len();
        fits.then(|| Self { contents: contents.clone(), place: place.clone(), size: [rows, columns], format })
    }
}

impl fmt::Debug for FileRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Format { elements, bytes, .. } = self.format;
        write!(f, "{:?} of {elements} elements in {bytes} bytes at {:?}", self.size, self.place)
    }
}

impl StoredRows for FileRows {
    fn size(&self) -> [usize; 2] {
        self.size
    }

    fn block(&self) -> usize {
        self.format.elements
    }

    fn element(&self) -> DType {
        self.format.dtype
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        let Format { elements, bytes, read, .. } = self.format;
        let start = self.place.start + (row * self.size[1] + columns.start) / elements * bytes;
        let len = columns.len() / elements * bytes;
        // Constructors check that all rows are in the file.
        read(&self.contents.bytes()[start..start + len], values);
    }
}

/// The columns of a matrix of numbers in half precision in a file, as rows. Each takes as long to read as many rows do, so they are to be laid out once.
#[derive(Debug)]
pub(crate) struct FileColumns(pub(crate) FileRows);

impl StoredRows for FileColumns {
    fn size(&self) -> [usize; 2] {
        let [rows, columns] = self.0.size;
        [columns, rows]
    }

    fn block(&self) -> usize {
        1
    }

    fn element(&self) -> DType {
        self.0.element()
    }

    fn expand(&self, row: usize, columns: Range<usize>, values: &mut [f32]) {
        let (numbers, width) = (self.0.contents.bytes()[self.0.place.clone()].as_chunks().0, self.0.size[1]);
        let numbers = columns.map(|column| &numbers[column * width + row]);
        let read = if self.0.format.dtype == DType::BF16 { bf16 } else { f16 };
        values.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(value, number)| read(number, value));
    }
}

/// Reads every block of `N` bytes as `M` values. `read`, and everything it calls, must be `#[inline(always)]`; otherwise its loops are
/// compiled for the baseline instruction set instead of the machine's.
pub(crate) fn each<const N: usize, const M: usize>(
    bytes: &[u8],
    values: &mut [f32],
    read: impl Fn(&[u8; N], &mut [f32; M]),
) {
    struct Every<'a, const N: usize, const M: usize, F>(&'a [[u8; N]], &'a mut [[f32; M]], F);

    impl<const N: usize, const M: usize, F: Fn(&[u8; N], &mut [f32; M])> pulp::NullaryFnOnce for Every<'_, N, M, F> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            for (bytes, values) in self.0.iter().zip(self.1) {
                (self.2)(bytes, values);
            }
        }
    }

    pulp::Arch::new().dispatch(Every(bytes.as_chunks().0, values.as_chunks_mut().0, read));
}

#[inline(always)]
pub(crate) fn f16(block: &[u8; 2], values: &mut [f32; 1]) {
    *values = [half_precision(u16::from_le_bytes(*block))];
}

#[inline(always)]
pub(crate) fn bf16(block: &[u8; 2], values: &mut [f32; 1]) {
    *values = [f32::from_bits(u32::from(u16::from_le_bytes(*block)) << 16)];
}

/// A half-precision number, without branches: many at a time are read in vectors.
#[inline(always)]
pub(crate) fn half_precision(bits: u16) -> f32 {
    /// The difference between the biases of the exponents.
    const BIAS: u32 = (127 - 15) << 23;
    /// The smallest number that is normal in half precision.
    const SMALLEST: u32 = (127 - 14) << 23;
    let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7FFF));
    let magnitude = match rest {
        0..0x400 => (f32::from_bits((rest << 13) + SMALLEST) - f32::from_bits(SMALLEST)).to_bits(),
        0x400..0x7C00 => (rest << 13) + BIAS,
        // Infinity and NaN.
        _ => rest << 13 | 0xFF << 23,
    };
    f32::from_bits(sign | magnitude)
}
