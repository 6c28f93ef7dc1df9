//! The colour of a score, and of text on top of it.

/// An sRGB colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rgb(pub(crate) u8, pub(crate) u8, pub(crate) u8);

pub(crate) const BLACK: Rgb = Rgb(0, 0, 0);
pub(crate) const WHITE: Rgb = Rgb(255, 255, 255);
const RED: Rgb = Rgb(178, 24, 43);
const BLUE: Rgb = Rgb(33, 102, 172);

/// Maps scores to colours: the largest absolute value gets the full colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    /// The largest absolute value.
    pub(crate) max: f32,
    /// Whether any score is below zero.
    pub(crate) signed: bool,
}

impl Scale {
    /// The scale for the given scores.
    pub(crate) fn of(values: impl IntoIterator<Item = f32>) -> Self {
        values.into_iter().filter(|value| value.is_finite()).fold(Self { max: 0.0, signed: false }, |scale, value| {
            Self { max: scale.max.max(value.abs()), signed: scale.signed || value < 0.0 }
        })
    }

    /// The colour of a score: blue below zero, red above; `None` for NaN.
    pub(crate) fn color(self, value: f32) -> Option<Rgb> {
        if value.is_nan() {
            return None;
        }
        let share = if self.max > 0.0 { (value.abs() / self.max).min(1.0) } else { 0.0 };
        Some(mix(WHITE, if value < 0.0 { BLUE } else { RED }, share))
    }
}

/// Mixes `share` of `to` with the rest of `from`.
fn mix(from: Rgb, to: Rgb, share: f32) -> Rgb {
    let channel = |from: u8, to: u8| (f32::from(from) + (f32::from(to) - f32::from(from)) * share).round() as u8;
    Rgb(channel(from.0, to.0), channel(from.1, to.1), channel(from.2, to.2))
}

/// Black or white text, whichever is easier to read; contrast is at least 4.58 on any colour.
pub(crate) fn ink(background: Rgb) -> Rgb {
    if contrast(background, BLACK) >= contrast(background, WHITE) { BLACK } else { WHITE }
}

/// The contrast ratio of WCAG 2, from 1 to 21.
pub(crate) fn contrast(one: Rgb, other: Rgb) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

fn luminance(Rgb(red, green, blue): Rgb) -> f64 {
    let linear = |channel: u8| {
        let channel = f64::from(channel) / 255.0;
        if channel <= 0.040_45 { channel / 12.92 } else { ((channel + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
}

/// The nearest of the 256-colour palette entries that look the same on all terminals: the 6×6×6 cube and the grays.
pub(crate) fn nearest_256(color: Rgb) -> (u8, Rgb) {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let cube = (0..216u8).map(|at| {
        let level = |digit: u8| LEVELS[usize::from(digit % 6)];
        (16 + at, Rgb(level(at / 36), level(at / 6), level(at)))
    });
    let grays = (0..24u8).map(|at| (232 + at, Rgb(8 + 10 * at, 8 + 10 * at, 8 + 10 * at)));
    let distance = |&(_, candidate): &(u8, Rgb)| {
        let square = |one: u8, other: u8| u32::from(one.abs_diff(other)).pow(2);
        square(candidate.0, color.0) + square(candidate.1, color.1) + square(candidate.2, color.2)
    };
    cube.chain(grays).min_by_key(distance).unwrap_or((231, WHITE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_white_and_the_ends_are_blue_and_red() {
        let scale = Scale::of([0.5, -2.0, f32::NAN, f32::INFINITY]);
        assert_eq!(scale, Scale { max: 2.0, signed: true });
        assert_eq!([-2.0, 0.0, 2.0].map(|value| scale.color(value)), [Some(BLUE), Some(WHITE), Some(RED)]);
        assert_eq!(scale.color(f32::INFINITY), Some(RED));
        assert_eq!(scale.color(f32::NAN), None);
        assert_eq!(Scale::of([0.0]).color(0.0), Some(WHITE));
    }

    #[test]
    fn text_is_readable_on_every_color() {
        let scale = Scale { max: 1.0, signed: true };
        for step in -100..=100i16 {
            let background = scale.color(f32::from(step) / 100.0).unwrap();
            let (_, indexed) = nearest_256(background);
            for background in [background, indexed] {
                assert!(contrast(background, ink(background)) >= 4.5, "{background:?}");
            }
        }
    }

    #[test]
    fn the_256_colors_keep_the_order_of_scores() {
        assert_eq!(nearest_256(WHITE), (231, WHITE));
        assert_eq!(nearest_256(Rgb(8, 8, 8)), (232, Rgb(8, 8, 8)));
        let scale = Scale { max: 1.0, signed: false };
        let steps: Vec<f64> =
            (0..=20u8).map(|step| luminance(nearest_256(scale.color(f32::from(step) / 20.0).unwrap()).1)).collect();
        assert!(steps.windows(2).all(|pair| pair[1] <= pair[0] + 0.03), "{steps:?}");
    }

    #[test]
    fn black_on_white_has_a_contrast_of_21() {
        assert!((contrast(BLACK, WHITE) - 21.0).abs() < 1e-9);
    }
}
