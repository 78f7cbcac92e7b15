//! Word clouds: the heaviest word in the middle, each of the others as near to it as there is room.

use super::canvas::{Point, width};

/// Sizes of the lightest and the heaviest word, in pixels.
const SIZES: [f64; 2] = [10.0, 30.0];

/// A word in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub text: String,
    /// From the middle of the cloud to that of the word.
    pub at: Point,
    pub size: f64,
}

/// Lays out words by their weights in an area; the sizes of words go by their weights, and those that find no room are left
/// out.
pub(super) fn cloud(weights: &[(String, f64)], (wide, high): Point) -> Vec<Word> {
    let mut order: Vec<&(String, f64)> = weights.iter().filter(|(_, weight)| *weight > 0.0).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let heaviest = order.first().map_or(1.0, |(_, weight)| *weight);
    let mut words: Vec<Word> = vec![];
    for (text, weight) in order {
        let size = SIZES[0] + (SIZES[1] - SIZES[0]) * weight / heaviest;
        // A long word that would not fit in the area otherwise is set smaller.
        let size = size.min(size * wide / width(text, size));
        let fits = |&(x, y): &Point| {
            let (half, up) = (width(text, size) / 2.0, 0.6 * size);
            let inside = x.abs() + half <= wide / 2.0 && y.abs() + up <= high / 2.0;
            let apart = |word: &Word| {
                (x - word.at.0).abs() >= half + width(&word.text, word.size) / 2.0
                    || (y - word.at.1).abs() >= up + 0.6 * word.size
            };
            inside && words.iter().all(apart)
        };
        if let Some(at) = spiral(wide, high).find(fits) {
            words.push(Word { text: text.clone(), at, size });
        }
    }
    words
}

/// Places from the middle of an area outwards.
fn spiral(wide: f64, high: f64) -> impl Iterator<Item = Point> {
    const STEPS: usize = 1500;
    (0..STEPS).map(move |step| {
        let (radius, angle) = (0.5 * step as f64 / STEPS as f64, 0.2 * step as f64);
        (wide * radius * angle.cos(), high * radius * angle.sin())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_inside_and_apart() {
        let weights: Vec<(String, f64)> =
            (0..18).map(|i| (format!("word{}", "x".repeat(i % 7)), 1.0 / (1.0 + i as f64))).collect();
        let words = cloud(&weights, (220.0, 180.0));
        assert!(words.len() > 8, "{} words", words.len());
        assert_eq!((words[0].at, words[0].size, &words[0].text), ((0.0, 0.0), 30.0, &weights[0].0));
        let half = |word: &Word| (width(&word.text, word.size) / 2.0, 0.6 * word.size);
        for (i, a) in words.iter().enumerate() {
            let (wide, high) = half(a);
            assert!(a.at.0.abs() + wide <= 110.0 && a.at.1.abs() + high <= 90.0, "{a:?}");
            for b in &words[..i] {
                let apart = (a.at.0 - b.at.0).abs() - half(a).0 - half(b).0;
                let above = (a.at.1 - b.at.1).abs() - half(a).1 - half(b).1;
                assert!(apart.max(above) >= 0.0, "{a:?} {b:?}");
                assert!(a.size < b.size, "{a:?} {b:?}");
            }
        }
        assert_eq!(cloud(&[("none".to_string(), 0.0)], (100.0, 100.0)), []);
        let long = cloud(&[("a word that is wider than the whole area".to_string(), 1.0)], (100.0, 100.0));
        assert!((width(&long[0].text, long[0].size) - 100.0).abs() < 1e-9);
    }
}
