//! Sorted scatter segments: the order in which the gradient of an embedding gather is summed.
//!
//! A gather reads table rows `indices`; its gradient adds the upstream rows back, many to one. Sorted by row, those sums
//! need no atomics and come out the same on every device. A long run is cut into chunks of at most [`CHUNK`] entries,
//! so that one popular row does not hold up a whole workgroup; the sums of its chunks are then added in order.

/// The longest run of entries that is summed at once.
pub const CHUNK: usize = 64;

/// Row 0 of every table is padding: it takes no gradient.
const PADDING: u32 = 0;

/// Bits sorted in one pass of the radix sort.
const DIGIT: u32 = 11;

/// Lengths of the arrays of [`Segments`]: upper bounds fixed by the shapes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    pub rows: usize,
    pub order: usize,
    pub chunks: usize,
}

impl Caps {
    /// Bounds for `indices_len` indices into a table of `table_rows` rows.
    pub fn of(indices_len: usize, table_rows: usize) -> Caps {
        let rows = indices_len.min(table_rows);
        Caps { rows, order: indices_len, chunks: indices_len / CHUNK + rows }
    }
}

/// Where each entry of a list of row indices goes when it is summed by row.
///
/// All arrays have the lengths of [`Caps`], whatever the indices are; what lies past `counts` is 0, except that starts
/// past the end repeat the end.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    /// The rows that occur, ascending, without padding: \[caps.rows\].
    pub rows: Vec<u32>,
    /// Positions in the concatenated list, sorted by (row, position), without those of padding: \[caps.order\].
    pub order: Vec<u32>,
    /// Chunk c sums `order[chunk_starts[c]..chunk_starts[c + 1]]`, all of one row: \[caps.chunks + 1\].
    pub chunk_starts: Vec<u32>,
    /// Row r owns the chunks `row_chunks[r]..row_chunks[r + 1]`: \[caps.rows + 1\].
    pub row_chunks: Vec<u32>,
    /// Rows, chunks and order entries in use, and 0.
    pub counts: [u32; 4],
    keys: Vec<u64>,
    sorted: Vec<u64>,
}

impl Segments {
    /// Fills `self` from the concatenation of `indices`, reusing its memory.
    ///
    /// # Panics
    /// If an index is not below `table_rows`, or there are 2^32 indices or more.
    pub fn build(&mut self, indices: &[&[u32]], table_rows: usize) {
        let len: usize = indices.iter().map(|list| list.len()).sum();
        assert!(len < u32::MAX as usize, "{len} indices do not fit in 32 bits");
        let caps = Caps::of(len, table_rows);
        self.sort(indices, table_rows);

        refill(&mut self.rows, caps.rows);
        refill(&mut self.order, caps.order);
        refill(&mut self.chunk_starts, caps.chunks + 1);
        refill(&mut self.row_chunks, caps.rows + 1);
        let (mut rows, mut chunks, mut filled) = (0, 0, 0);
        let mut last = PADDING;
        for (at, &key) in self.keys.iter().enumerate() {
            let row = (key >> 32) as u32;
            if row != last {
                last = row;
                self.rows[rows] = row;
                self.row_chunks[rows] = chunks as u32;
                rows += 1;
                filled = 0;
            }
            if filled % CHUNK == 0 {
                self.chunk_starts[chunks] = at as u32;
                chunks += 1;
            }
            self.order[at] = key as u32;
            filled += 1;
        }
        self.row_chunks[rows..].fill(chunks as u32);
        self.chunk_starts[chunks..].fill(self.keys.len() as u32);
        self.counts = [rows as u32, chunks as u32, self.keys.len() as u32, 0];
    }

    /// Positions in the concatenated list of the entries of row number `row` of [`Segments::rows`].
    pub fn entries(&self, row: usize) -> &[u32] {
        let chunk = |at: usize| self.chunk_starts[self.row_chunks[at] as usize] as usize;
        &self.order[chunk(row)..chunk(row + 1)]
    }

    /// `self.keys`: (row, position) of every index but padding, sorted. Least significant digit first, so that positions,
    /// which start in order, stay in order within a row.
    fn sort(&mut self, indices: &[&[u32]], table_rows: usize) {
        let bits = usize::BITS - table_rows.saturating_sub(1).leading_zeros();
        let passes = bits.div_ceil(DIGIT).max(1);
        let digit = bits.div_ceil(passes);
        let mask = (1u64 << digit) - 1;

        self.keys.clear();
        for (position, &row) in (0u64..).zip(indices.iter().copied().flatten()) {
            assert!((row as usize) < table_rows, "index {row} in a table of {table_rows} rows");
            if row != PADDING {
                self.keys.push((row as u64) << 32 | position);
            }
        }
        self.sorted.clear();
        self.sorted.resize(self.keys.len(), 0);
        let mut starts = [0u32; 1 << DIGIT];
        for pass in 0..passes {
            let shift = 32 + pass * digit;
            starts[..1 << digit].fill(0);
            for &key in &self.keys {
                starts[(key >> shift & mask) as usize] += 1;
            }
            let mut start = 0;
            for slot in &mut starts[..1 << digit] {
                start += std::mem::replace(slot, start);
            }
            for &key in &self.keys {
                let slot = &mut starts[(key >> shift & mask) as usize];
                self.sorted[*slot as usize] = key;
                *slot += 1;
            }
            std::mem::swap(&mut self.keys, &mut self.sorted);
        }
    }
}

fn refill(list: &mut Vec<u32>, len: usize) {
    list.clear();
    list.resize(len, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::philox::Stream;

    /// The definition, spelled out: sort (row, position) pairs and cut every row's run into chunks.
    fn check(indices: &[&[u32]], table_rows: usize) {
        let mut segments = Segments::default();
        segments.build(&[&[1; 200]], 2); // memory that was used before
        segments.build(indices, table_rows);

        let all = indices.concat();
        let caps = Caps::of(all.len(), table_rows);
        let mut pairs: Vec<(u32, u32)> = all.iter().enumerate().map(|(p, &row)| (row, p as u32)).collect();
        pairs.retain(|&(row, _)| row != 0);
        pairs.sort();
        let (mut rows, mut chunk_starts, mut row_chunks) = (vec![], vec![], vec![]);
        let mut at = 0;
        for run in pairs.chunk_by(|a, b| a.0 == b.0) {
            rows.push(run[0].0);
            row_chunks.push(chunk_starts.len() as u32);
            for chunk in run.chunks(CHUNK) {
                chunk_starts.push(at);
                at += chunk.len() as u32;
            }
        }
        assert_eq!(segments.counts, [rows.len() as u32, chunk_starts.len() as u32, pairs.len() as u32, 0]);
        row_chunks.resize(caps.rows + 1, chunk_starts.len() as u32);
        rows.resize(caps.rows, 0);
        chunk_starts.resize(caps.chunks + 1, pairs.len() as u32);
        let mut order: Vec<u32> = pairs.iter().map(|&(_, p)| p).collect();
        order.resize(caps.order, 0);
        assert_eq!(segments.rows, rows);
        assert_eq!(segments.order, order);
        assert_eq!(segments.chunk_starts, chunk_starts);
        assert_eq!(segments.row_chunks, row_chunks);
    }

    #[test]
    fn equals_the_definition() {
        let mut stream = Stream::new(1, "segments", 0);
        for table_rows in [2, 3, 100, 2048, 2049, 5000, 3_000_000] {
            for len in [1, 63, 64, 65, 1000] {
                let mut draw = |n| (0..n).map(|_| stream.below(table_rows)).collect::<Vec<u32>>();
                let (a, b) = (draw(len), draw(len / 3));
                check(&[&a, &b], table_rows as usize);
            }
        }
    }

    #[test]
    fn extremes() {
        check(&[], 10);
        check(&[&[]], 1);
        check(&[&[0; 300]], 10);
        for len in [1, 64, 65, 128, 1000] {
            check(&[&vec![7; len]], 10);
        }
        check(&[&[9], &[9, 0, 9]], 10);
        let one_each: Vec<u32> = (0..500).collect();
        check(&[&one_each], 500);
    }

    #[test]
    #[should_panic(expected = "index 10 in a table of 10 rows")]
    fn an_index_outside_the_table_panics() {
        Segments::default().build(&[&[10]], 10);
    }
}
