//! Protects the library from hostile files: panics become errors, and sizes are checked before they are believed.

use super::thrift;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;
use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};

/// Footers, and pages of small files, are not larger.
const LARGEST: u64 = 64 << 20;

/// The most that gzip unpacks to, in multiples of its size. A page that cannot reach the other bound needs no check, as no usual one does.
const GZIP_RATIO: u64 = 1032;
const MOST_UNCHECKED: u64 = 512 << 20;

/// Rows of a file, apart from the first million, take at least a hundredth of a byte.
const ROWS: u64 = 1 << 20;
const ROWS_PER_BYTE: u64 = 100;

/// Elements of lists in one page or one row.
const MOST_ELEMENTS: u64 = 1 << 22;

/// Each string of a DELTA_BYTE_ARRAY page can be as long as the page.
const LONGEST_DELTA_PAGE: usize = 4 << 20;
pub const DELTA_BLOCK: usize = 64;

thread_local! {
    /// Panics of this thread are errors of a file, and need not be reported.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Calls the library. Its panics become errors, without a message on the standard error.
pub fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                other(panic);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(refused(format!("the reader stopped: {message}")))
    })
}

fn refused(problem: impl Into<String>) -> ParquetError {
    ParquetError::General(problem.into())
}

/// Reads the footer.
pub fn metadata(file: &File) -> Result<ParquetMetaData> {
    let len = file.len();
    let short = || refused("too short");
    let tail = file.get_bytes(len.checked_sub(8).ok_or_else(short)?, 8)?;
    let footer = u32::from_le_bytes(tail[..4].try_into().expect("four bytes")) as u64;
    let start = (len - 8).checked_sub(footer).ok_or_else(short)?;
    if &tail[4..] != b"PAR1" {
        return Err(refused("no footer at its end"));
    }
    if footer > LARGEST {
        return Err(refused(format!("a footer of {footer} bytes")));
    }
    if !thrift::schema_is_sound(&file.get_bytes(start, footer as usize)?) {
        return Err(refused("a footer whose schema is damaged"));
    }
    let metadata = guarded(|| ParquetMetaDataReader::new().parse_and_finish(file))?;
    let rows =
        metadata.row_groups().iter().try_fold(0u64, |sum, group| sum.checked_add(group.num_rows().try_into().ok()?));
    match rows {
        Some(rows) if rows <= ROWS.saturating_add(ROWS_PER_BYTE.saturating_mul(len)) => Ok(metadata),
        Some(rows) => Err(refused(format!("{rows} rows in {len} bytes"))),
        None => Err(refused("a row group of a negative number of rows")),
    }
}

/// A file from which only the pages of one column are read.
struct Pages {
    file: Arc<File>,
    len: u64,
    codec: Compression,
    /// The header of the next page was read already: what is asked for is its body.
    peeked: AtomicBool,
    /// What that header says of the size of the unpacked page.
    claimed: AtomicU64,
}

impl Pages {
    /// An error where a page unpacks to more than it says: gzip and Brotli are unpacked to their end, whatever that is.
    fn check_unpacked(&self, page: &[u8]) -> Result<()> {
        let mut unpacked: Box<dyn Read + '_> = match self.codec {
            Compression::GZIP(_) if page.len() as u64 > MOST_UNCHECKED / GZIP_RATIO => {
                Box::new(MultiGzDecoder::new(page))
            }
            Compression::BROTLI(_) => Box::new(brotli::Decompressor::new(page, 1 << 16)),
            _ => return Ok(()),
        };
        let claimed = self.claimed.load(Ordering::Relaxed);
        match std::io::copy(&mut (&mut unpacked).take(claimed + 1), &mut std::io::sink())? {
            size if size > claimed => Err(refused(format!("a page that unpacks to more than its {claimed} bytes"))),
            _ => Ok(()),
        }
    }
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Pages {
    type T = BufReader<File>;

    /// The header of a page, or its body.
    fn get_read(&self, start: u64) -> Result<BufReader<File>> {
        if self.peeked.load(Ordering::Relaxed) {
            return self.file.get_read(start);
        }
        let mut header = vec![];
        self.file.get_read(start)?.take(16).read_to_end(&mut header)?;
        let most = LARGEST.max(4 * self.len);
        match thrift::page_size(&header) {
            Some(size) if size <= most => {
                self.claimed.store(size, Ordering::Relaxed);
                self.file.get_read(start)
            }
            Some(size) => Err(refused(format!("a page of {size} bytes in a file of {}", self.len))),
            None => Err(refused(format!("no page at byte {start}"))),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(refused(format!("a page of {length} bytes at byte {start} of {}", self.len)));
        }
        let page = self.file.get_bytes(start, length)?;
        self.check_unpacked(&page)?;
        Ok(page)
    }
}

/// The pages of a column chunk, whose claims are checked.
pub struct CheckedPages {
    reader: Arc<Pages>,
    pages: SerializedPageReader<Pages>,
    column: ColumnDescPtr,
    declares_delta: bool,
    elements: Elements,
}

/// Elements of lists in the pages that were read for a block of rows.
#[derive(Clone, Default)]
pub struct Elements(Arc<AtomicU64>);

impl Elements {
    /// A new block begins.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Whether strings of the chunk may be built from one another.
pub fn declares_delta(chunk: &ColumnChunkMetaData) -> bool {
    chunk.encodings().any(|encoding| encoding == Encoding::DELTA_BYTE_ARRAY)
}

impl CheckedPages {
    /// Panics where the chunk is damaged: call it guarded.
    pub fn new(file: &Arc<File>, chunk: &ColumnChunkMetaData, elements: Elements) -> Result<CheckedPages> {
        let reader = Arc::new(Pages {
            file: file.clone(),
            len: file.len(),
            codec: chunk.compression(),
            peeked: AtomicBool::new(false),
            claimed: AtomicU64::new(0),
        });
        let pages = SerializedPageReader::new(reader.clone(), chunk, 0, None)?;
        Ok(CheckedPages {
            reader,
            pages,
            column: chunk.column_descr_ptr(),
            declares_delta: declares_delta(chunk),
            elements,
        })
    }

    fn check(&self, page: &Page) -> Result<()> {
        let values = page.num_values() as u64;
        if let Page::DictionaryPage { buf, .. } = page {
            let least = match self.column.physical_type() {
                Type::BOOLEAN => 0,
                Type::INT32 | Type::FLOAT | Type::BYTE_ARRAY => 4,
                Type::INT64 | Type::DOUBLE => 8,
                Type::INT96 => 12,
                Type::FIXED_LEN_BYTE_ARRAY => self.column.type_length().max(1) as u64,
            };
            return match least {
                0 => Err(refused("a dictionary of booleans")),
                _ if values > buf.len() as u64 / least => {
                    Err(refused(format!("{values} values in {} bytes", buf.len())))
                }
                _ => Ok(()),
            };
        }
        if self.column.max_rep_level() > 0
            && self.elements.0.fetch_add(values, Ordering::Relaxed) + values > MOST_ELEMENTS
        {
            return Err(refused(format!(
                "more than {MOST_ELEMENTS} elements in a page, or in the lists of a few rows"
            )));
        }
        let lengths = |data: &[u8]| match thrift::delta_count(data) {
            Some(count) if count <= values => Ok(()),
            _ => Err(refused("strings whose number is not that of their page")),
        };
        match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => lengths(self.data(page)?),
            Encoding::DELTA_BYTE_ARRAY => {
                let data = self.data(page)?;
                if !self.declares_delta || data.len() > LONGEST_DELTA_PAGE {
                    return Err(refused(format!("a DELTA_BYTE_ARRAY page of {} bytes", data.len())));
                }
                lengths(data)?; // of prefixes
                lengths(thrift::after_delta(data).unwrap_or_default()) // of suffixes
            }
            _ => Ok(()),
        }
    }

    /// The values of a data page, after its levels.
    fn data<'a>(&self, page: &'a Page) -> Result<&'a [u8]> {
        let levels = match *page {
            Page::DataPageV2 { rep_levels_byte_len, def_levels_byte_len, .. } => {
                rep_levels_byte_len as usize + def_levels_byte_len as usize
            }
            Page::DataPage { ref buf, num_values, rep_level_encoding, def_level_encoding, .. } => {
                let of = |most: i16, encoding, start: usize| match (most, encoding) {
                    (0, _) => Some(start),
                    (_, Encoding::RLE) => {
                        let len = buf.get(start..start + 4)?;
                        Some(start + 4 + u32::from_le_bytes(len.try_into().expect("four bytes")) as usize)
                    }
                    _ => Some(start + (num_values as usize * (i16::BITS - most.leading_zeros()) as usize).div_ceil(8)),
                };
                let after_rep = of(self.column.max_rep_level(), rep_level_encoding, 0);
                let after_def = after_rep.and_then(|start| of(self.column.max_def_level(), def_level_encoding, start));
                after_def.ok_or_else(|| refused("a page that ends within its levels"))?
            }
            Page::DictionaryPage { .. } => 0,
        };
        page.buffer().get(levels..).ok_or_else(|| refused("a page that ends within its levels"))
    }
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Result<Page>> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        self.reader.peeked.store(false, Ordering::Relaxed);
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        let page = self.pages.peek_next_page()?;
        self.reader.peeked.store(page.is_some(), Ordering::Relaxed);
        Ok(page)
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()?;
        self.reader.peeked.store(false, Ordering::Relaxed);
        Ok(())
    }
}
