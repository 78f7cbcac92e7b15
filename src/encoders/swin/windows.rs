//! Which positions of a grid lie side by side in windows and merged patches, as lists of rows to gather.

/// A row that no table has: gathering it gives zeros.
pub const PADDING: u32 = u32::MAX;

/// How a grid \[height, width\] is cut into windows: padded below and on the right to a multiple of the window, then shifted up and to the
/// left, around the edges.
pub struct Windows {
    /// Windows of an image.
    pub count: usize,
    /// For each position of each window, the row of the grid that it shows.
    pub rows: Vec<u32>,
    /// For each row of the grid, the position of all windows that shows it.
    pub back: Vec<u32>,
    /// Unless nothing is shifted, what is added to the logits of each pair of positions of each window, \[count, L, L\]: 0 if both
    /// were neighbours before the shift.
    pub mask: Option<Vec<f32>>,
}

/// What keeps positions apart that were no neighbours before the shift. Not minus infinity, since the models were trained with it.
const APART: f32 = -100.0;

impl Windows {
    pub fn new([height, width]: [usize; 2], window: usize, shift: usize) -> Windows {
        let [padded_height, padded_width] = [height, width].map(|n| n.next_multiple_of(window));
        let columns = padded_width / window;
        let count = padded_height / window * columns;
        let positions = window * window;
        let mut rows = vec![PADDING; count * positions];
        let mut back = vec![0; height * width];
        let mut regions = vec![0; count * positions];
        // The three parts that a shifted axis falls into.
        let part = |i: usize, n: usize| usize::from(i >= n - window) + usize::from(i >= n - shift);
        for (place, (row, region)) in rows.iter_mut().zip(&mut regions).enumerate() {
            let (w, p) = (place / positions, place % positions);
            let [i, j] = [w / columns * window + p / window, w % columns * window + p % window];
            let [y, x] = [(i + shift) % padded_height, (j + shift) % padded_width];
            if y < height && x < width {
                *row = (y * width + x) as u32;
                back[y * width + x] = place as u32;
            }
            *region = 3 * part(i, padded_height) + part(j, padded_width);
        }
        let apart = |of: &[usize]| -> Vec<f32> {
            of.iter().flat_map(|a| of.iter().map(move |b| if a == b { 0.0 } else { APART })).collect()
        };
        let mask = (shift > 0).then(|| regions.chunks(positions).flat_map(apart).collect());
        Windows { count, rows, back, mask }
    }
}

/// Rows of the grid of `images` images, one after the other, given those of one; `n` rows an image.
pub fn repeat(rows: &[u32], images: usize, n: usize) -> Vec<u32> {
    let of =
        |image: usize| rows.iter().map(move |&row| if row == PADDING { PADDING } else { row + (image * n) as u32 });
    (0..images).flat_map(of).collect()
}

/// The four rows of a grid that each position of the merged one is made of: from the top to the bottom, then from the left to the
/// right.
pub fn merged([height, width]: [usize; 2]) -> Vec<u32> {
    let row = |y: usize, x: usize| if y < height && x < width { (y * width + x) as u32 } else { PADDING };
    let four = |y: usize, x: usize| [row(y, x), row(y + 1, x), row(y, x + 1), row(y + 1, x + 1)];
    (0..height).step_by(2).flat_map(|y| (0..width).step_by(2).flat_map(move |x| four(y, x))).collect()
}

/// For each pair of positions of a window, first that of the key, then that of the query: the row of the table of biases by relative
/// position, \[L, L\].
pub fn relative(window: usize) -> Vec<usize> {
    let positions = window * window;
    let pair = |key: usize, query: usize| {
        let [y, x] = [query / window + window - 1 - key / window, query % window + window - 1 - key % window];
        y * (2 * window - 1) + x
    };
    (0..positions).flat_map(|key| (0..positions).map(move |query| pair(key, query))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_and_padded_grid() {
        let windows = Windows::new([3, 5], 2, 1);
        assert_eq!(windows.count, 6);
        let none = PADDING;
        // Rows 1, 2 of columns 1 to 4, then what the shift has brought from the other side.
        assert_eq!(windows.rows[..12], [6, 7, 11, 12, 8, 9, 13, 14, none, 5, none, 10]);
        assert_eq!(windows.rows[12..], [none, none, 1, 2, none, none, 3, 4, none, none, none, 0]);
        for (row, &place) in windows.back.iter().enumerate() {
            assert_eq!(windows.rows[place as usize], row as u32);
        }
        let mask = windows.mask.unwrap();
        assert!(mask[..32].iter().all(|&x| x == 0.0), "windows that the shift left whole");
        let of = |window: usize, a: usize, b: usize| mask[(window * 4 + a) * 4 + b];
        assert_eq!([of(2, 0, 1), of(2, 0, 2), of(3, 0, 1), of(3, 0, 2), of(5, 0, 3)], [APART, 0.0, 0.0, APART, APART]);
        assert!(Windows::new([4, 4], 2, 0).mask.is_none());
    }

    #[test]
    fn lists_of_rows() {
        assert_eq!(
            merged([3, 3]),
            [0, 3, 1, 4, 2, 5, PADDING, PADDING, 6, PADDING, 7, PADDING, 8, PADDING, PADDING, PADDING]
        );
        assert_eq!(repeat(&[1, PADDING], 2, 4), [1, PADDING, 5, PADDING]);
        assert_eq!(relative(2), [4, 5, 7, 8, 3, 4, 6, 7, 1, 2, 4, 5, 0, 1, 3, 4]);
    }
}
