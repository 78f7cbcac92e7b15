//! Tables as any Arrow library hands them over: the C data and stream interfaces
//! (<https://arrow.apache.org/docs/format/CDataInterface.html>).
//!
//! Buffers carry no lengths there: that they hold what their arrays say is the producer's promise.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use wgrec::{Error, Result};

#[repr(C)]
struct RawSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut RawSchema,
    dictionary: *mut RawSchema,
    release: Option<unsafe extern "C" fn(*mut RawSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
struct RawArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const c_void,
    children: *mut *mut RawArray,
    dictionary: *mut RawArray,
    release: Option<unsafe extern "C" fn(*mut RawArray)>,
    private_data: *mut c_void,
}

/// `struct ArrowArrayStream`.
#[repr(C)]
pub struct RawStream {
    get_schema: Option<unsafe extern "C" fn(*mut RawStream, *mut RawSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut RawStream, *mut RawArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut RawStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut RawStream)>,
    private_data: *mut c_void,
}

macro_rules! released {
    ($($raw:ty),*) => {$(
        impl Drop for $raw {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: the structure is the producer's and was not released, or `release` would be None.
                    unsafe { release(self) }
                }
            }
        }
    )*};
}
released!(RawSchema, RawArray, RawStream);

/// A table in batches of rows.
pub struct Stream(Box<RawStream>);

// SAFETY: the interface allows calls from any thread, one at a time.
unsafe impl Send for Stream {}

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    Bool,
    /// Bytes of a value.
    Signed(usize),
    Unsigned(usize),
    Float(usize),
    /// Bytes of an offset.
    Text(usize),
    TextView,
    /// Days.
    Date,
    /// Milliseconds of whole days.
    DateMillis,
    /// The format's letter of the unit, and whether the column has a time zone.
    Timestamp(u8, bool),
    Decimal {
        precision: i32,
        scale: i32,
    },
    /// Indices into values of another kind.
    Dictionary(Box<Kind>, Box<Kind>),
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    /// Err: the format of a type that is not read.
    pub kind: Result<Kind, String>,
}

impl Kind {
    fn of_format(format: &str) -> Option<Kind> {
        let kind = match format {
            "n" => Kind::Null,
            "b" => Kind::Bool,
            "c" => Kind::Signed(1),
            "C" => Kind::Unsigned(1),
            "s" => Kind::Signed(2),
            "S" => Kind::Unsigned(2),
            "i" => Kind::Signed(4),
            "I" => Kind::Unsigned(4),
            "l" => Kind::Signed(8),
            "L" => Kind::Unsigned(8),
            "f" => Kind::Float(4),
            "g" => Kind::Float(8),
            "u" => Kind::Text(4),
            "U" => Kind::Text(8),
            "vu" => Kind::TextView,
            "tdD" => Kind::Date,
            "tdm" => Kind::DateMillis,
            _ => match (format.strip_prefix("ts"), format.strip_prefix("d:")) {
                (Some(time), _) => match time.as_bytes() {
                    [unit @ (b's' | b'm' | b'u' | b'n'), b':', zone @ ..] => Kind::Timestamp(*unit, !zone.is_empty()),
                    _ => return None,
                },
                (_, Some(decimal)) => {
                    let mut numbers = decimal.split(',').map(|number| number.parse::<i32>().ok());
                    let (precision, scale) = (numbers.next()??, numbers.next()??);
                    // Of 128 bits, which is the default.
                    let wide = numbers.next().is_none_or(|bits| bits == Some(128));
                    if !wide || scale < 0 {
                        return None;
                    }
                    Kind::Decimal { precision, scale }
                }
                _ => return None,
            },
        };
        Some(kind)
    }

    /// # Safety
    /// `schema` is one of the producer's that was not released.
    unsafe fn of(schema: &RawSchema) -> Result<Kind, String> {
        // SAFETY: by the interface a format is a C string, and a dictionary a schema or null.
        unsafe {
            let format = text(schema.format);
            let kind = Kind::of_format(&format).ok_or(format)?;
            match schema.dictionary.as_ref() {
                None => Ok(kind),
                Some(values) => Ok(Kind::Dictionary(Box::new(kind), Box::new(Kind::of(values)?))),
            }
        }
    }
}

/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

impl Stream {
    /// Takes over a stream: what it was is left as a released one.
    ///
    /// # Safety
    /// `stream` points to a valid structure that nobody else uses meanwhile.
    pub unsafe fn take(stream: *mut RawStream) -> Stream {
        let released = RawStream {
            get_schema: None,
            get_next: None,
            get_last_error: None,
            release: None,
            private_data: ptr::null_mut(),
        };
        // SAFETY: the caller's promise. A structure may be moved by its bytes.
        Stream(Box::new(unsafe { ptr::replace(stream, released) }))
    }

    fn check(&mut self, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        let last = self.0.get_last_error.expect("a stream that is not released has it");
        // SAFETY: the error is read right after the call that failed.
        let why = unsafe { text(last(&mut *self.0)) };
        Err(Error::Failed(format!("data: the frame cannot be read: {why} (error {code})")))
    }

    /// The columns.
    ///
    /// # Errors
    /// A stream that fails, is used up, or is no table.
    pub fn fields(&mut self) -> Result<Vec<Field>> {
        let Some(get) = self.0.get_schema else {
            return Err(Error::Usage("data: found a stream that was read before; expected a new one".to_string()));
        };
        // SAFETY: an empty structure of pointers and integers is all zeros; the call fills it.
        let (code, schema) = unsafe {
            let mut schema: RawSchema = std::mem::zeroed();
            (get(&mut *self.0, &mut schema), schema)
        };
        self.check(code)?;
        // SAFETY: the schema was filled and is not released before the end of this function.
        unsafe {
            let format = text(schema.format);
            if format != "+s" {
                let message =
                    format!("data: found one column (of Arrow's format {format:?}); expected a table of columns");
                return Err(Error::Usage(message));
            }
            let field = |at: usize| {
                let child = &**schema.children.add(at);
                Field { name: text(child.name), kind: Kind::of(child) }
            };
            Ok((0..schema.n_children as usize).map(field).collect())
        }
    }

    /// The next rows; None after the last ones.
    ///
    /// # Errors
    /// A stream that fails.
    pub fn next(&mut self) -> Result<Option<Batch>> {
        let get = self.0.get_next.expect("a stream with a schema has it");
        // SAFETY: as in `fields`.
        let (code, array) = unsafe {
            let mut array: RawArray = std::mem::zeroed();
            (get(&mut *self.0, &mut array), array)
        };
        self.check(code)?;
        Ok(array.release.is_some().then_some(Batch(array)))
    }
}

/// Rows of a table.
pub struct Batch(RawArray);

impl Batch {
    pub fn rows(&self) -> usize {
        self.0.length as usize
    }

    /// A column of these rows.
    pub fn column(&self, at: usize) -> Column<'_> {
        // SAFETY: the schema, which `at` is taken from, has this child.
        let array = unsafe { &**self.0.children.add(at) };
        Column { array, first: (self.0.offset + array.offset) as usize }
    }
}

/// Values of a column. The first one lies at `first` in the buffers.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    array: &'a RawArray,
    first: usize,
}

/// A value.
#[derive(Debug, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Integer(i64),
    /// One that does not fit an `i64` as it is.
    Unsigned(u64),
    Single(f32),
    Double(f64),
    Text(&'a [u8]),
    Decimal(i128),
}

impl<'a> Column<'a> {
    /// The value in a row of the batch, of a column of this kind.
    ///
    /// # Safety
    /// The row is one of the batch's, and `kind` the column's.
    pub unsafe fn get(self, kind: &Kind, row: usize) -> Value<'a> {
        let at = self.first + row;
        // SAFETY: buffers are those that the format of the column says, with a value for each row.
        unsafe {
            if *kind == Kind::Null || self.is_null(at) {
                return Value::Null;
            }
            match kind {
                Kind::Null => Value::Null,
                Kind::Bool => Value::Bool(bit(self.buffer(1), at)),
                Kind::Signed(1) => Value::Integer(self.read::<i8>(at).into()),
                Kind::Signed(2) => Value::Integer(self.read::<i16>(at).into()),
                Kind::Signed(4) | Kind::Date => Value::Integer(self.read::<i32>(at).into()),
                Kind::Signed(_) | Kind::DateMillis | Kind::Timestamp(..) => Value::Integer(self.read::<i64>(at)),
                Kind::Unsigned(1) => Value::Unsigned(self.read::<u8>(at).into()),
                Kind::Unsigned(2) => Value::Unsigned(self.read::<u16>(at).into()),
                Kind::Unsigned(4) => Value::Unsigned(self.read::<u32>(at).into()),
                Kind::Unsigned(_) => Value::Unsigned(self.read::<u64>(at)),
                Kind::Float(4) => Value::Single(self.read::<f32>(at)),
                Kind::Float(_) => Value::Double(self.read::<f64>(at)),
                Kind::Text(4) => self.bytes(self.read::<i32>(at) as usize..self.read::<i32>(at + 1) as usize),
                Kind::Text(_) => self.bytes(self.read::<i64>(at) as usize..self.read::<i64>(at + 1) as usize),
                Kind::TextView => self.view(at),
                Kind::Decimal { .. } => Value::Decimal(self.read::<i128>(at)),
                Kind::Dictionary(index, values) => {
                    let index = match (Column { array: self.array, first: 0 }).get(index, at) {
                        Value::Integer(index) => index as usize,
                        Value::Unsigned(index) => index as usize,
                        _ => return Value::Null,
                    };
                    let dictionary = &*self.array.dictionary;
                    Column { array: dictionary, first: dictionary.offset as usize }.get(values, index)
                }
            }
        }
    }

    /// Whether the value at `at` of the buffers is null.
    unsafe fn is_null(self, at: usize) -> bool {
        // SAFETY: the first buffer has a bit for each value, or is null where all are there.
        unsafe {
            let valid = self.buffer(0);
            self.array.null_count != 0 && !valid.is_null() && !bit(valid, at)
        }
    }

    unsafe fn buffer(self, number: usize) -> *const u8 {
        // SAFETY: the caller's promise that there is such a buffer.
        unsafe { (*self.array.buffers.add(number)).cast() }
    }

    unsafe fn read<T>(self, at: usize) -> T {
        // SAFETY: the caller's promise that the second buffer has values of this type. It may be aligned for none.
        unsafe { self.buffer(1).cast::<T>().add(at).read_unaligned() }
    }

    unsafe fn bytes(self, range: std::ops::Range<usize>) -> Value<'a> {
        if range.is_empty() {
            return Value::Text(&[]);
        }
        // SAFETY: the third buffer has the bytes that the offsets in the second say.
        Value::Text(unsafe { std::slice::from_raw_parts(self.buffer(2).add(range.start), range.len()) })
    }

    /// A string of at most 12 bytes stands in its view; of a longer one there are its buffer and where it begins there.
    unsafe fn view(self, at: usize) -> Value<'a> {
        // SAFETY: the second buffer has views of 16 bytes; the buffers after it have the longer strings.
        unsafe {
            let view = self.buffer(1).add(16 * at);
            let word = |n: usize| view.cast::<i32>().add(n).read_unaligned() as usize;
            let length = word(0);
            let start = if length <= 12 { view.add(4) } else { self.buffer(2 + word(2)).add(word(3)) };
            if length == 0 { Value::Text(&[]) } else { Value::Text(std::slice::from_raw_parts(start, length)) }
        }
    }
}

unsafe fn bit(bits: *const u8, at: usize) -> bool {
    // SAFETY: the caller's promise that there are as many bits.
    unsafe { *bits.add(at / 8) >> (at % 8) & 1 == 1 }
}
