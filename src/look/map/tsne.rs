//! t-SNE (van der Maaten, Hinton, 2008) in two dimensions by the crate bhtsne, and how far its neighbours can be trusted.

use super::super::canvas::Point;
use crate::error::{Error, Result};
use crate::threads;
use faer::Mat;

/// As scikit-learn: the most neighbours that a point has in effect, and the spread of the start.
const PERPLEXITY: f64 = 30.0;
const SPREAD: f64 = 1e-4;

/// A place in the plane for each of `points`, near to those of points that are near. The start is the plane of the two
/// principal components, and all sums are made in order, so the same points have the same places every time.
///
/// # Errors
/// A thread that the system does not grant; a decomposition that fails.
pub(super) fn embed(points: &[&[f32]]) -> Result<Vec<Point>> {
    // The crate adds numbers in an order that depends on the threads.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(threads::refused)?;
    pool.install(|| {
        let start = principal(points)?;
        let perplexity = PERPLEXITY.min((points.len().saturating_sub(1) / 3) as f64);
        let deviation = (start.iter().map(|at| at.0 * at.0).sum::<f64>() / start.len() as f64).sqrt();
        if perplexity < 2.0 || deviation == 0.0 {
            // So few points, or equal ones, have no neighbourhoods.
            return Ok(start);
        }
        let scaled = start.iter().flat_map(|at| [at.0, at.1]).map(|x| x / deviation * SPREAD);
        let wide: Vec<Vec<f64>> = points.iter().map(|point| point.iter().map(|&x| x as f64).collect()).collect();
        let mut tsne = bhtsne::tSNE::<f64, Vec<f64>, 2>::new(&wide);
        tsne.perplexity(perplexity).initial_embedding(scaled.collect::<Vec<f64>>());
        tsne.barnes_hut(THETA, |a, b| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt());
        Ok(tsne.embedding().chunks_exact(2).map(|at| (at[0], at[1])).collect())
    })
}

/// How coarsely the forces between distant points are taken.
const THETA: f64 = 0.2;

/// The first two principal components of each point.
fn principal(points: &[&[f32]]) -> Result<Vec<Point>> {
    let (n, d) = (points.len(), points[0].len());
    let mean: Vec<f64> = (0..d).map(|c| points.iter().map(|point| point[c] as f64).sum::<f64>() / n as f64).collect();
    let centred = Mat::from_fn(n, d, |row, c| points[row][c] as f64 - mean[c]);
    let svd = centred.thin_svd().map_err(|e| Error::Failed(format!("the map has no principal components: {e:?}")))?;
    let (u, s) = (svd.U(), svd.S().column_vector());
    let component = |row: usize, c: usize| if c < s.nrows() { u[(row, c)] * s[c] } else { 0.0 };
    Ok((0..n).map(|row| (component(row, 0), component(row, 1))).collect())
}

/// The trustworthiness of a map at `k` neighbours (Venna, Kaski, 2001): 1 less what points that are among the k nearest in the
/// map, and not indeed, cost by their ranks. None where there are too few points for that.
pub(super) fn trustworthiness(points: &[&[f32]], places: &[Point], k: usize) -> Option<f64> {
    let n = points.len();
    if n <= 2 * k {
        return None;
    }
    let far = |i: usize, j: usize| super::distance(points[i], points[j]);
    let apart = |i: usize, j: usize| (places[i].0 - places[j].0).hypot(places[i].1 - places[j].1);
    let order = |i: usize, of: &dyn Fn(usize, usize) -> f64| {
        let mut others: Vec<(f64, usize)> = (0..n).filter(|&j| j != i).map(|j| (of(i, j), j)).collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        others.into_iter().map(|(_, j)| j).collect::<Vec<usize>>()
    };
    let mut cost = 0;
    for i in 0..n {
        let mut rank = vec![0; n];
        order(i, &far).into_iter().zip(1usize..).for_each(|(j, at)| rank[j] = at);
        cost += order(i, &apart).into_iter().take(k).map(|j| rank[j].saturating_sub(k)).sum::<usize>();
    }
    Some(1.0 - 2.0 * cost as f64 / (n * k * (2 * n - 3 * k - 1)) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::philox::Stream;

    /// Points around `centres` centres, in 8 dimensions.
    fn clusters(n: usize, centres: usize) -> Vec<Vec<f32>> {
        let mut stream = Stream::new(3, "points", 0);
        let centres: Vec<Vec<f64>> = (0..centres).map(|_| (0..8).map(|_| 4.0 * stream.normal()).collect()).collect();
        let mut point = |i: usize| centres[i % centres.len()].iter().map(|x| (x + stream.normal()) as f32).collect();
        (0..n).map(&mut point).collect()
    }

    fn borrowed(points: &[Vec<f32>]) -> Vec<&[f32]> {
        points.iter().map(Vec::as_slice).collect()
    }

    #[test]
    fn clusters_stay_together() {
        let points = clusters(120, 4);
        let points = borrowed(&points);
        let places = embed(&points).unwrap();
        assert!(places.iter().all(|at| at.0.is_finite() && at.1.is_finite()));
        let trust = trustworthiness(&points, &places, 10).unwrap();
        assert!(trust > 0.95, "{trust}");
        let far = |i: usize, j: usize| (places[i].0 - places[j].0).hypot(places[i].1 - places[j].1);
        for i in 0..120 {
            let nearest = (0..120).filter(|&j| j != i).min_by(|&a, &b| far(i, a).total_cmp(&far(i, b))).unwrap();
            assert_eq!(nearest % 4, i % 4, "the nearest of {i} is {nearest}");
        }
        assert_eq!(embed(&points).unwrap(), places);
    }

    #[test]
    fn few_points_and_equal_ones() {
        let points = clusters(3, 3);
        let points = borrowed(&points);
        let places = embed(&points).unwrap();
        for (i, j) in [(0, 1), (0, 2), (1, 2)] {
            let apart = (places[i].0 - places[j].0).hypot(places[i].1 - places[j].1);
            assert!((apart - super::super::distance(points[i], points[j])).abs() < 1e-5);
        }
        for n in [1, 2, 4, 7, 11, 40] {
            let same = vec![vec![0.5f32; 8]; n];
            let places = embed(&borrowed(&same)).unwrap();
            assert!(places.len() == n && places.iter().all(|at| at.0.is_finite() && at.1.is_finite()), "{n}");
            let line: Vec<Vec<f32>> = (0..n).map(|i| vec![(i / 3) as f32]).collect();
            let places = embed(&borrowed(&line)).unwrap();
            assert!(places.len() == n && places.iter().all(|at| at.0.is_finite() && at.1.is_finite()), "{n}");
        }
    }

    /// Points on a line, and a map in which one went to the other end.
    #[test]
    fn trust_is_lost_by_ranks() {
        let line: Vec<Vec<f32>> = (0..9).map(|i| vec![(i * i) as f32]).collect();
        let points = borrowed(&line);
        let mut places: Vec<Point> = (0..9).map(|i| ((i * i) as f64, 0.0)).collect();
        assert_eq!(trustworthiness(&points, &places, 4), Some(1.0));
        assert_eq!(trustworthiness(&points, &places, 5), None);
        places[0].0 = 100.0;
        // By hand, k = 2: the nearest of 0 become 8 and 7, of ranks 8 and 7. Point 1 loses 0 and takes 3, of rank 3, and so does 2.
        // All others keep their neighbours.
        let cost = (8 - 2) + (7 - 2) + (3 - 2) + (3 - 2);
        let want = 1.0 - 2.0 * cost as f64 / (9 * 2 * (2 * 9 - 3 * 2 - 1)) as f64;
        assert_eq!(trustworthiness(&points, &places, 2), Some(want));
    }
}
