//! A fixed random map of vectors to another width that keeps lengths and angles as far as it can.

use crate::tensor::philox::Stream;

/// `rows` \[n, width\] times a random matrix \[width, to\] with orthonormal columns, or rows where `to` is larger: \[n, to\].
pub fn project(rows: &[f32], width: usize, to: usize, seed: u64) -> Vec<f32> {
    let (many, few) = (width.max(to), width.min(to));
    let mut stream = Stream::new(seed, "orthogonal map", 0);
    let mut basis: Vec<Vec<f64>> = vec![];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    while basis.len() < few {
        let mut next: Vec<f64> = (0..many).map(|_| stream.normal()).collect();
        // Twice, so that rounding leaves nothing of the others.
        for other in basis.iter().chain(&basis) {
            let share = dot(&next, other);
            next.iter_mut().zip(other).for_each(|(next, other)| *next -= share * other);
        }
        let length = dot(&next, &next).sqrt();
        basis.push(next.iter().map(|x| x / length).collect());
    }
    let entry = |from: usize, out: usize| if width >= to { basis[out][from] } else { basis[from][out] };
    let image =
        |row: &[f32], out: usize| (0..width).map(|from| row[from] as f64 * entry(from, out)).sum::<f64>() as f32;
    rows.chunks_exact(width)
        .flat_map(|row| (0..to).map(move |out| (row, out)))
        .map(|(row, out)| image(row, out))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_space_keeps_every_product() {
        let rows: Vec<f32> = (0..12).map(|i| (i * i % 7) as f32 - 2.5).collect();
        let product = |all: &[f32], width: usize, a: usize, b: usize| -> f32 {
            (0..width).map(|i| all[a * width + i] * all[b * width + i]).sum()
        };
        let wide = project(&rows, 4, 9, 3);
        for (a, b) in [(0, 0), (0, 1), (1, 2), (2, 2)] {
            assert!((product(&wide, 9, a, b) - product(&rows, 4, a, b)).abs() < 1e-4);
        }
        // And back by the transposed map, which is that of the same seed.
        let back = project(&wide, 9, 4, 3);
        assert!(back.iter().zip(&rows).all(|(a, b)| (a - b).abs() < 1e-5), "{back:?}");
    }
}
