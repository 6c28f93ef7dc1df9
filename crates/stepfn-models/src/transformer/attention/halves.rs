//! Interleaved rotary positions (GPT-J, Cohere, GLM) as rotations of halves: a matter of the order of queries' and keys' units, which scores
//! don't depend on.

/// The order of units in which those that are rotated together, neighbours in the checkpoint, are half of the rotated dimensions apart.
pub(super) fn halves_first(dim: usize, head_dim: usize, heads: usize) -> Vec<usize> {
    let of_head = |head: usize| {
        let unit = move |unit: usize| match unit {
            _ if unit >= dim => unit,
            _ if unit < dim / 2 => 2 * unit,
            _ => 2 * (unit - dim / 2) + 1,
        };
        (0..head_dim).map(move |i| head * head_dim + unit(i))
    };
    (0..heads).flat_map(of_head).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotating_halves_is_rotating_neighbours() {
        const DIM: usize = 6;
        const HEAD: usize = 8;
        const HEADS: usize = 2;
        let angle = |pair: usize| 0.3 + pair as f64;
        let x: Vec<f64> = (0..HEADS * HEAD).map(|unit| (unit as f64).sin()).collect();
        let turn = |(a, b): (f64, f64), pair: usize| {
            let (sin, cos) = angle(pair).sin_cos();
            (a * cos - b * sin, b * cos + a * sin)
        };
        let rotated = |x: &[f64], place: fn(usize) -> (usize, usize)| {
            let mut rotated = x.to_vec();
            for start in (0..HEADS).map(|head| head * HEAD) {
                for pair in 0..DIM / 2 {
                    let (a, b) = place(pair);
                    (rotated[start + a], rotated[start + b]) = turn((x[start + a], x[start + b]), pair);
                }
            }
            rotated
        };
        let order = halves_first(DIM, HEAD, HEADS);
        let ordered = |x: &[f64]| order.iter().map(|&unit| x[unit]).collect::<Vec<f64>>();
        let neighbours = rotated(&x, |pair| (2 * pair, 2 * pair + 1));
        let halves = rotated(&ordered(&x), |pair| (pair, pair + DIM / 2));
        assert_eq!(halves, ordered(&neighbours));
        assert_ne!(halves, neighbours);
    }
}
