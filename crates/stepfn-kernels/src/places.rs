//! Places of texts that are filled one after the other, as those of a cache of keys and values.

use burn::tensor::{Tensor, backend::Backend};

/// Writes `later` at places `first` and on of every text: in the memory of `x` if nothing else shares it, else into a copy.
///
/// # Shapes
/// - `x`, result: `[texts, places, size]`
/// - `later`: `[texts, new places, size]`
///
/// # Panics
/// If `x` has no such places.
pub fn written<B: Backend>(x: Tensor<B, 3>, first: usize, later: Tensor<B, 3>) -> Tensor<B, 3> {
    let ([texts, places, size], [_, new, _]) = (x.dims(), later.dims());
    assert!(first + new <= places && later.dims() == [texts, new, size], "new places fit the room for them");
    match in_place(x, first, &later) {
        Ok(x) => x,
        Err(x) => x.slice_assign([0..texts, first..first + new, 0..size], later),
    }
}

/// Writes without a copy, or returns `x` unchanged as the error.
#[cfg(feature = "flex")]
fn in_place<B: Backend>(x: Tensor<B, 3>, first: usize, later: &Tensor<B, 3>) -> Result<Tensor<B, 3>, Tensor<B, 3>> {
    use crate::host::{HostRows, flex};

    let ([_, places, size], [_, new, _]) = (x.dims(), later.dims());
    let Some(later) = HostRows::of(later) else { return Err(x) };
    let mut tensor = flex::owned(x)?;
    let range = flex::elements(&tensor);
    let storage = range.and_then(|range| Some(&mut tensor.try_storage_mut::<f32>()?[range]));
    let Some(storage) = storage else { return Err(flex::wrapped(tensor)) };
    let texts = storage.chunks_exact_mut(places * size).zip(later.as_slice().chunks_exact(new * size));
    texts.for_each(|(text, later)| text[first * size..(first + new) * size].copy_from_slice(later));
    Ok(flex::wrapped(tensor))
}

/// Without a host backend compiled in, no tensor can be written in place.
#[cfg(not(feature = "flex"))]
fn in_place<B: Backend>(x: Tensor<B, 3>, _first: usize, _later: &Tensor<B, 3>) -> Result<Tensor<B, 3>, Tensor<B, 3>> {
    Err(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Flex, NdArray, values};

    fn check<B: Backend>() {
        let device = Default::default();
        let x = Tensor::<B, 3>::zeros([2, 3, 2], &device);
        let later = Tensor::<B, 3>::from_floats([[[1.0, 2.0]], [[3.0, 4.0]]], &device);
        let shared = x.clone();
        let written = written(x, 1, later.clone());
        #[rustfmt::skip]
        let expected = [0.0, 0.0, 1.0, 2.0, 0.0, 0.0,  0.0, 0.0, 3.0, 4.0, 0.0, 0.0];
        assert_eq!(values(&written), expected);
        assert_eq!(values(&shared), [0.0; 12], "what others read does not change");
        drop(shared);
        let again = super::written(written, 2, later);
        #[rustfmt::skip]
        let expected = [0.0, 0.0, 1.0, 2.0, 1.0, 2.0,  0.0, 0.0, 3.0, 4.0, 3.0, 4.0];
        assert_eq!(values(&again), expected);
    }

    #[test]
    fn places_are_written_in_place_or_into_a_copy() {
        check::<Flex>();
        check::<NdArray>();
    }

    #[test]
    fn nothing_is_copied_where_nothing_is_shared() {
        let device = Default::default();
        let x = Tensor::<Flex, 3>::zeros([2, 3, 2], &device);
        assert!(in_place(x.clone(), 0, &Tensor::ones([2, 1, 2], &device)).is_err());
        assert!(in_place(x, 0, &Tensor::ones([2, 1, 2], &device)).is_ok());
    }
}
