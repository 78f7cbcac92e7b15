//! The resize of Pillow up to 12.3: an antialiased separable convolution in fixed point, across first, with bytes in between. (13.0
//! begins with the axis that shrinks more; some bytes are off by 1 then.)
//!
//! ```text
//! y[o] = clip(sum_i k[o, i] x[i] + 1/2),   k[o, i] = filter((i + 1/2 - c[o]) / s) / sum,   c[o] = (o + 1/2) n_in / n_out
//! ```
//!
//! with s = max(1, n_in / n_out), and k rounded to 22 binary places. Every byte is the one that Pillow gives.

use super::decode::Rgb;
use rayon::prelude::*;

/// The filters of Pillow that a `resample` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    Lanczos,
    Bilinear,
    Bicubic,
}

impl Filter {
    /// Pillow's number of a filter.
    pub fn numbered(number: u64) -> Option<Filter> {
        [(1, Filter::Lanczos), (2, Filter::Bilinear), (3, Filter::Bicubic)]
            .into_iter()
            .find(|f| f.0 == number)
            .map(|f| f.1)
    }

    /// Half the width, in pixels of the larger image.
    fn support(self) -> f64 {
        match self {
            Filter::Lanczos => 3.0,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) };
        let distance = x.abs();
        match self {
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Bilinear if distance < 1.0 => 1.0 - distance,
            Filter::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Filter::Bicubic if distance < 2.0 => (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

const CHANNELS: usize = 3;
/// Binary places of a weight.
const PLACES: u32 = 22;

/// What one pixel of the output is made of: the pixels from `first` on, each with its weight.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

fn taps(filter: Filter, from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let of = |o: usize| {
        let center = (o as f64 + 0.5) * scale;
        // Pillow cuts off what is after the point.
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let weight = |i: usize| filter.weight((i as f64 - center + 0.5) * (1.0 / stretch));
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let round = |w: f64| {
            let w = if sum == 0.0 { w } else { w / sum } * f64::from(1 << PLACES);
            (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
        };
        Taps { first, weights: weights.into_iter().map(round).collect() }
    };
    (0..to).map(of).collect()
}

/// The byte that a sum of weighted bytes stands for.
fn byte(sum: i32) -> u8 {
    ((sum + (1 << (PLACES - 1))) >> PLACES).clamp(0, 255) as u8
}

/// `image` in `size`, \[height, width\].
pub fn resize(image: Rgb, size: [usize; 2], filter: Filter) -> Rgb {
    let [height, width] = size;
    let wide = if image.size[1] == width { image } else { across(&image, width, filter) };
    if wide.size[0] == height { wide } else { down(&wide, height, filter) }
}

fn across(image: &Rgb, width: usize, filter: Filter) -> Rgb {
    let taps = taps(filter, image.size[1], width);
    let mut bytes = vec![0; image.size[0] * width * CHANNELS];
    let rows = image.bytes.par_chunks_exact(image.size[1] * CHANNELS);
    bytes.par_chunks_exact_mut(width * CHANNELS).zip(rows).for_each(|(y, x)| {
        for (y, taps) in y.as_chunks_mut::<CHANNELS>().0.iter_mut().zip(&taps) {
            let mut sums = [0i32; CHANNELS];
            for (x, w) in x.as_chunks::<CHANNELS>().0[taps.first..].iter().zip(&taps.weights) {
                sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += w * i32::from(x));
            }
            *y = sums.map(byte);
        }
    });
    Rgb { size: [image.size[0], width], bytes }
}

fn down(image: &Rgb, height: usize, filter: Filter) -> Rgb {
    let row = image.size[1] * CHANNELS;
    let mut bytes = vec![0; height * row];
    bytes.par_chunks_exact_mut(row).zip(taps(filter, image.size[0], height)).for_each(|(y, taps)| {
        let mut sums = vec![0i32; row];
        for (x, w) in image.bytes[taps.first * row..].chunks_exact(row).zip(&taps.weights) {
            sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum += w * i32::from(x));
        }
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = byte(sum));
    });
    Rgb { size: [height, image.size[1]], bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of Pillow 12.3 for a row of one channel, `Image.fromarray(..).resize((n, 1), resample)`.
    #[test]
    fn the_bytes_of_pillow() {
        let x = [0, 255, 3, 200, 90, 17, 250, 128, 64, 255];
        let cases: [(Filter, &[u8]); 9] = [
            (Filter::Lanczos, &[110, 114, 156]),
            (Filter::Lanczos, &[100, 121, 141, 47, 194, 100, 190]),
            (Filter::Lanczos, &[0, 194, 165, 9, 195, 145, 7, 74, 253, 168, 45, 131, 255]),
            (Filter::Bilinear, &[118, 112, 148]),
            (Filter::Bilinear, &[88, 113, 143, 54, 178, 106, 189]),
            (Filter::Bilinear, &[0, 167, 148, 41, 192, 120, 54, 80, 245, 151, 91, 130, 255]),
            (Filter::Bicubic, &[112, 114, 154]),
            (Filter::Bicubic, &[91, 116, 148, 48, 190, 101, 193]),
            (Filter::Bicubic, &[0, 187, 161, 17, 198, 125, 32, 67, 252, 153, 70, 124, 255]),
        ];
        for (filter, want) in cases {
            let grey = |row: &[u8]| row.iter().flat_map(|&x| [x; 3]).collect::<Vec<_>>();
            let (row, column) = ([1, x.len()], [x.len(), 1]);
            let across = resize(Rgb { size: row, bytes: grey(&x) }, [1, want.len()], filter);
            let down = resize(Rgb { size: column, bytes: grey(&x) }, [want.len(), 1], filter);
            assert_eq!((across.bytes, down.bytes), (grey(want), grey(want)), "{filter:?} to {}", want.len());
        }
    }
}
