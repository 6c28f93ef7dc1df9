//! Names that people mistype or abbreviate.

/// The name most like another, if any is like it at all. Case, spaces, `-` and `_` don't matter. A name is like another if few letters are
/// different, or if one is a part of the other.
pub fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro–Winkler similarity two names have little but length in common.
    const ALIKE: f64 = 0.75;
    let plain_name = plain(name);
    names
        .map(|candidate| (candidate, plain(candidate)))
        .filter(|(_, plain)| is_close(&plain_name, plain))
        .map(|(candidate, plain)| (strsim::jaro_winkler(&plain_name, &plain), candidate))
        .filter(|(similarity, _)| *similarity >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Whether at most a third of the letters are different, or one name begins the other or is a great part of it.
fn is_close(one: &str, other: &str) -> bool {
    let [short, long] = if one.len() <= other.len() { [one, other] } else { [other, one] };
    let is_part = (short.len() >= 2 && long.starts_with(short)) || (short.len() >= 4 && long.contains(short));
    is_part || strsim::osa_distance(one, other) * 3 <= long.chars().count()
}

/// Whether two names differ at most in case, spaces, `-` and `_`.
pub(super) fn same(one: &str, other: &str) -> bool {
    plain(one) == plain(other)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_and_typing_errors_have_the_name_that_was_meant() {
        let names = ["integrated_gradients", "input_x_gradient", "saliency", "mean"];
        for (written, meant) in [
            ("Integrated Gradients", Some("integrated_gradients")),
            ("inputxgradient", Some("input_x_gradient")),
            ("salincy", Some("saliency")),
            ("men", Some("mean")),
            ("gradients_integrated", None),
            ("integrated", Some("integrated_gradients")),
            ("foo", None),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names.into_iter()), meant, "{written}");
        }
        for (written, other) in
            [("foo", "forced_eos_token_id"), ("nosuch", "bench"), ("bench", "batch"), ("list", "lime")]
        {
            assert_eq!(nearest(written, core::iter::once(other)), None, "{written}");
        }
    }
}
