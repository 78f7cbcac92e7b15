//! Types, lists, tables in parts, and files that lie.

use crate::data::readers::{Columns, Interactions, SkipBad, locate, parts, read};
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type, Int96, Int96Type,
};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes one column.
type Write<'a> = &'a dyn Fn(&mut SerializedColumnWriter);

fn required<T: DataType>(values: &[T::T]) -> impl Fn(&mut SerializedColumnWriter) + use<T> {
    let values = values.to_vec();
    move |column| {
        column.typed::<T>().write_batch(&values, None, None).unwrap();
    }
}

/// Definition and repetition levels, and the values.
fn nested<'a, T: DataType>(
    levels: (&'a [i16], &'a [i16]),
    values: &'a [T::T],
) -> impl Fn(&mut SerializedColumnWriter) + 'a {
    move |column| {
        column.typed::<T>().write_batch(values, Some(levels.0), Some(levels.1)).unwrap();
    }
}

fn file(fields: &str, columns: &[Write]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(&format!("message x {{ {fields} }}")).unwrap());
    let version = WriterProperties::builder().set_writer_version(WriterVersion::PARQUET_2_0).build();
    let mut out = vec![];
    let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(version)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for write in columns {
        let mut column = group.next_column().unwrap().unwrap();
        write(&mut column);
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    out
}

fn read_bytes(contents: &[u8]) -> Result<Interactions> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.parquet");
    std::fs::write(&path, contents).unwrap();
    read_path(&path)
}

fn read_path(path: &Path) -> Result<Interactions> {
    read(&locate(path, None, &Columns::default())?, &Columns::default(), SkipBad::NONE)
}

/// Users, items and values as text.
fn shown(data: &Interactions) -> Vec<String> {
    let value = |at: usize| data.value.as_ref().map(|values| format!(" {}", values[at])).unwrap_or_default();
    let row = |at: usize| {
        let (user, item) = (data.user_names.get(data.user[at]), data.item_names.get(data.item[at]));
        format!("{user} {item}{}", value(at))
    };
    (0..data.len()).map(row).collect()
}

const USERS: &[i64] = &[1, 2];

#[test]
fn ids_and_values_of_each_type() {
    let users = required::<Int64Type>(USERS);
    let decimal = |text: &[u8]| FixedLenByteArray::from(text.to_vec());
    let wide = [decimal(&[0, 0, 0x2d]), decimal(&[0xff, 0xff, 0xd3])];
    let uuid = [decimal(&[0xab; 16]), decimal(&[1; 16])];
    let half = [decimal(&[0, 0x3c]), decimal(&[0, 0xc4])];
    let cases: [(&str, Write, [&str; 2]); 12] = [
        ("int32 item (INTEGER(32, false))", &required::<Int32Type>(&[-1, 7]), ["4294967295", "7"]),
        ("int32 item (UINT_8)", &required::<Int32Type>(&[200, 7]), ["200", "7"]),
        ("int64 item (INTEGER(64, false))", &required::<Int64Type>(&[-1, 7]), ["18446744073709551615", "7"]),
        ("int32 item (DECIMAL(9, 2))", &required::<Int32Type>(&[450, -5]), ["4.50", "-0.05"]),
        ("fixed_len_byte_array(3) item (DECIMAL(5, 1))", &required::<FixedLenByteArrayType>(&wide), ["4.5", "-4.5"]),
        (
            "fixed_len_byte_array(16) item (UUID)",
            &required::<FixedLenByteArrayType>(&uuid),
            ["abababab-abab-abab-abab-abababababab", "01010101-0101-0101-0101-010101010101"],
        ),
        ("fixed_len_byte_array(2) item (FLOAT16)", &required::<FixedLenByteArrayType>(&half), ["1", "-4"]),
        ("double item", &required::<DoubleType>(&[1.0, -0.0]), ["1", "0"]),
        ("boolean item", &required::<BoolType>(&[true, false]), ["true", "false"]),
        ("int32 item (DATE)", &required::<Int32Type>(&[0, -1]), ["1970-01-01", "1969-12-31"]),
        (
            "int64 item (TIMESTAMP(MICROS, true))",
            &required::<Int64Type>(&[1_500_000, 0]),
            ["1970-01-01 00:00:01.5", "1970-01-01 00:00:00"],
        ),
        ("binary item (ENUM)", &required::<ByteArrayType>(&["a".into(), "b".into()]), ["a", "b"]),
    ];
    for (field, write, [first, second]) in cases {
        let data = read_bytes(&file(&format!("required int64 user; required {field};"), &[&users, write])).unwrap();
        assert_eq!(shown(&data), [format!("1 {first}"), format!("2 {second}")], "{field}");
    }
    let values: [(&str, Write, [&str; 2]); 3] = [
        ("boolean rating", &required::<BoolType>(&[true, false]), ["1", "0"]),
        ("int32 rating (DECIMAL(3, 1))", &required::<Int32Type>(&[45, 10]), ["4.5", "1"]),
        ("int64 rating (DECIMAL(18, 3))", &required::<Int64Type>(&[-4500, 10]), ["-4.5", "0.01"]),
    ];
    let items = required::<Int64Type>(&[5, 6]);
    for (field, write, [first, second]) in values {
        let fields = format!("required int64 user; required int64 item; required {field};");
        let data = read_bytes(&file(&fields, &[&users, &items, write])).unwrap();
        assert_eq!(shown(&data), [format!("1 5 {first}"), format!("2 6 {second}")], "{field}");
    }
    let float = required::<DoubleType>(&[1.0, 9_007_199_254_740_992.0]);
    let error = read_bytes(&file("required int64 user; required double item;", &[&users, &float])).unwrap_err();
    assert!(error.to_string().contains(":2:2: found \"9007199254740992\"; expected ids that a float holds"), "{error}");
    let bytes = required::<FixedLenByteArrayType>(&half);
    let fields = "required int64 user; required fixed_len_byte_array(2) item;";
    let error = read_bytes(&file(fields, &[&users, &bytes])).unwrap_err();
    assert!(error.to_string().contains("the column \"item\" of type FIXED_LEN_BYTE_ARRAY; expected"), "{error}");
}

#[test]
fn times_of_each_type() {
    use crate::data::Clock;
    let (users, items) = (required::<Int64Type>(USERS), required::<Int64Type>(&[5, 6]));
    let mut int96 = [Int96::new(), Int96::new()];
    int96[0].set_data(1, 0, 2_440_588); // a nanosecond after 1970 began
    int96[1].set_data(0, 0, 2_440_587);
    let second = 1_000_000_000;
    let cases: [(&str, Write, Vec<i64>, Clock); 9] = [
        ("int64 time (TIMESTAMP(MILLIS, true))", &required::<Int64Type>(&[-1, 5]), vec![-1, 5], Clock::Milliseconds),
        ("int64 time (TIMESTAMP(MICROS, true))", &required::<Int64Type>(&[-1, 5]), vec![-1, 5], Clock::Microseconds),
        ("int64 time (TIMESTAMP(NANOS, false))", &required::<Int64Type>(&[-1, 5]), vec![-1, 5], Clock::Nanoseconds),
        ("int64 time (TIMESTAMP_MICROS)", &required::<Int64Type>(&[-1000, 0]), vec![-1, 0], Clock::Milliseconds),
        ("int96 time", &required::<Int96Type>(&int96), vec![1, -86_400 * second], Clock::Nanoseconds),
        ("int32 time (DATE)", &required::<Int32Type>(&[-1, 1]), vec![-86_400, 86_400], Clock::Seconds),
        ("int32 time (TIME(MILLIS, true))", &required::<Int32Type>(&[1000, 1]), vec![1000, 1], Clock::Order),
        ("int64 time (TIME(NANOS, true))", &required::<Int64Type>(&[second, 1]), vec![second, 1], Clock::Order),
        (
            "double time",
            &required::<DoubleType>(&[1.6e9, 1.6e9 + 0.25]),
            vec![1_600_000_000_000, 1_600_000_000_250],
            Clock::Milliseconds,
        ),
    ];
    for (field, write, times, clock) in cases {
        let fields = format!("required int64 user; required int64 item; required {field};");
        let data = read_bytes(&file(&fields, &[&users, &items, write])).unwrap();
        assert_eq!((data.time, data.clock), (times, clock), "{field}");
    }
}

#[test]
fn lists_are_a_row_for_each_element() {
    let list =
        |name: &str| format!("optional group {name} (LIST) {{ repeated group list {{ optional int64 element; }} }}");
    let fields = format!("required int64 user; {} {}", list("item"), list("rating"));
    let users = required::<Int64Type>(&[1, 2, 3, 4]);
    // [5, 6], [], null, [7]
    let levels: (&[i16], &[i16]) = (&[3, 3, 1, 0, 3], &[0, 1, 0, 0, 0]);
    let items = nested::<Int64Type>(levels, &[5, 6, 7]);
    let data = read_bytes(&file(&fields, &[&users, &items, &items])).unwrap();
    assert_eq!(shown(&data), ["1 5 5", "1 6 6", "4 7 7"]);
    let shorter = nested::<Int64Type>((&[3, 1, 0, 3], &[0, 0, 0, 0]), &[5, 7]);
    let error = read_bytes(&file(&fields, &[&users, &items, &shorter])).unwrap_err();
    assert!(error.to_string().contains(":1:3: found 2 elements of \"item\" and 1 of \"rating\""), "{error}");
    let fields = "required int64 user; optional group item (LIST) { repeated group list { optional group element { \
                  required int64 id; required int64 price; } } }";
    let error = read_bytes(&file(fields, &[&users, &items, &items])).unwrap_err();
    assert!(error.to_string().contains("\"item.list.element.id\""), "{error}");
    let fields = "required int64 user; required fixed_len_byte_array(1) item;";
    let bytes = required::<FixedLenByteArrayType>(&[FixedLenByteArray::from(vec![1])]);
    let error = read_bytes(&file(fields, &[&required::<Int64Type>(&[1]), &bytes])).unwrap_err();
    assert!(error.to_string().contains("; expected items that are numbers, texts,"), "{error}");
}

#[test]
fn tables_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, user: i64| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (users, items) = (required::<Int64Type>(&[user]), [ByteArray::from("a")]);
        std::fs::write(
            path,
            file("required int64 user; required binary item (UTF8);", &[&users, &required::<ByteArrayType>(&items)]),
        )
        .unwrap();
    };
    put("spark/part-00000-8e17f2cd-1c1b-4a31-8b11-5e2e8ed0b1a1-c000.snappy.parquet", 1);
    put("spark/part-00001-8e17f2cd-1c1b-4a31-8b11-5e2e8ed0b1a1-c000.snappy.parquet", 2);
    for mark in ["_SUCCESS", "._SUCCESS.crc", "_metadata"] {
        std::fs::write(folder.path().join("spark").join(mark), "x").unwrap();
    }
    assert_eq!(shown(&read_path(&folder.path().join("spark")).unwrap()), ["1 a", "2 a"]);
    put("hive/rating=4.5/time=2015-01-08 19%3A53%3A07/000000_0", 1);
    put("hive/rating=1/time=2015-01-08 19%3A53%3A06/000000_0", 2);
    let data = read_path(&folder.path().join("hive")).unwrap();
    assert_eq!(shown(&data), ["2 a 1", "1 a 4.5"]);
    assert_eq!(data.time, [1_420_746_786, 1_420_746_787]);
    put("null/rating=__HIVE_DEFAULT_PARTITION__/x.parquet", 1);
    let error = read_path(&folder.path().join("null")).unwrap_err();
    assert!(error.to_string().contains(":1:3: found \"null\"; expected a finite number"), "{error}");
    put("two/train.parquet", 1);
    put("two/test.parquet", 2);
    let error = read_path(&folder.path().join("two")).unwrap_err();
    assert!(
        error.to_string().contains("several files that may be the interactions: test.parquet, train.parquet"),
        "{error}"
    );
    let path = Path::new("/data/run=3/x/a%20b=c%2Fd/e=__HIVE_DEFAULT_PARTITION__/f.parquet");
    let keys = |folder: &str| parts::keys(path, Path::new(folder));
    assert_eq!(keys("/data/run=3/x/a%20b=c%2Fd").len(), 1);
    assert_eq!(keys("/data/run=3"), [("a b".to_string(), Some("c/d".to_string())), ("e".to_string(), None)]);
}

/// A file of one row: its name, the user, and columns other than the item, of a number each.
type OneRow<'a> = (&'a str, i64, &'a [(&'a str, i64)]);

/// A table in a folder.
fn table(files: &[OneRow]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, user, more) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut fields = "required int64 user_id; required int64 item;".to_string();
        let mut columns = vec![required::<Int64Type>(&[*user]), required::<Int64Type>(&[7])];
        for (name, number) in *more {
            fields += &format!(" required int64 {name};");
            columns.push(required::<Int64Type>(&[*number]));
        }
        let columns: Vec<Write> = columns.iter().map(|column| column as Write).collect();
        std::fs::write(path, file(&fields, &columns)).unwrap();
    }
    folder
}

fn refusal(folder: &tempfile::TempDir) -> String {
    let error = read_path(folder.path()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string().replace(folder.path().to_str().unwrap(), "T")
}

#[test]
fn files_of_other_columns_are_refused() {
    let (one, two) = ("part-0.parquet", "part-1.parquet");
    let rating: &[(&str, i64)] = &[("rating", 3)];
    for (first, second, found) in [
        (
            &[][..],
            rating,
            "found the column \"rating\" of values, where T/part-0.parquet has none; expected the same columns",
        ),
        (rating, &[], "found no column of values, where T/part-0.parquet has \"rating\"; expected the same columns"),
        (rating, &[("plays", 3)], "found the column \"plays\" of values, where that of T/part-0.parquet is \"rating\""),
        (&[("event", 1)], &[], "found no column of behaviours"),
        (&[("timestamp", 1)], &[], "found no column of times"),
        (&[], &[("timestamp", 1)], "found the column \"timestamp\" of times"),
    ] {
        let message = refusal(&table(&[(one, 1, first), (two, 2, second)]));
        assert!(message.starts_with(&format!("T/part-1.parquet:1: {found}")), "{message}");
    }
    // No rows that may be left out.
    let folder = table(&[(one, 1, rating), (two, 2, &[])]);
    let columns = Columns::default();
    let source = locate(folder.path(), None, &columns).unwrap();
    assert!(read(&source, &columns, SkipBad::ALL).unwrap_err().to_string().contains("no column of values"));
    let columns = Columns { no_rating: true, ..columns };
    assert_eq!(shown(&read(&source, &columns, SkipBad::NONE).unwrap()), ["1 7", "2 7"]);
    // Folders are columns too.
    let message = refusal(&table(&[("rating=1/a.parquet", 1, &[]), ("year=2/a.parquet", 2, &[])]));
    assert!(message.starts_with("T/year=2/a.parquet:1: found no column of values, where T/rating=1/"), "{message}");
    // Columns that are not read may differ, and the first file says which are.
    let data = read_path(table(&[(one, 1, &[("ts", 1)]), (two, 2, &[("ts", 2), ("date", 3)])]).path()).unwrap();
    assert_eq!(data.notes, ["columns: user user_id, item item, time ts"]);
    let message = refusal(&table(&[(one, 1, &[("ts", 1_600_000_000)]), (two, 2, &[("ts", 1_600_000_000_000)])]));
    assert!(message.contains("T/part-1.parquet:1:3: found \"1600000000000\"; expected a time"), "{message}");
    assert!(message.contains("(the first file is T/part-0.parquet)"), "{message}");
}

#[test]
fn no_file_of_a_table_is_lost() {
    let read_users = |files: &[&str]| {
        let files: Vec<_> = files.iter().zip(0..).map(|(name, user)| (*name, user, &[][..])).collect();
        read_path(table(&files).path()).map(|data| shown(&data).join(", ")).map_err(|e| e.to_string())
    };
    assert_eq!(read_users(&["y=1/a.parquet", "y=2/b.parquet", "y=2/sub/b.parquet"]).unwrap(), "0 7, 1 7, 2 7");
    // Numbers count as such.
    assert_eq!(read_users(&["part.0", "part.1", "part.10", "part.2"]).unwrap(), "0 7, 1 7, 3 7, 2 7");
    assert_eq!(read_users(&["y=10/a", "y=9/a", "y=9/b"]).unwrap(), "1 7, 2 7, 0 7");
    for other in ["old/a.parquet", "old/y=1/b/a.parquet"] {
        for files in [["y=1/a.parquet", "y=2/a.parquet", other], ["part-0", "part-1", other]] {
            let message = read_users(&files).unwrap_err();
            assert!(message.contains("/old: found a folder of Parquet files next to the part files"), "{message}");
        }
    }
    let folder = table(&[("part-0.parquet", 1, &[])]);
    std::fs::write(folder.path().join("part-1.parquet"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    assert!(refusal(&folder).starts_with("T/part-1.parquet: found what is no whole Parquet file"));
    #[cfg(unix)]
    {
        let folder = table(&[("y=1/a.parquet", 1, &[])]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("y=1/loop")).unwrap();
        assert!(refusal(&folder).contains("found a folder too deep"));
    }
}

#[test]
fn only_folders_below_the_one_that_is_named_are_columns() {
    let folder = table(&[("user=9/timestamp=5/t.parquet", 1, &[("timestamp", 3)])]);
    let inner = folder.path().join("user=9");
    for path in [folder.path(), &inner, &inner.join("timestamp=5"), &inner.join("timestamp=5/t.parquet")] {
        let data = read_path(path).unwrap();
        assert_eq!((shown(&data), &data.time[..]), (vec!["1 7".to_string()], &[3][..]), "{}", path.display());
    }
    // What is named goes before what is not.
    let columns = Columns { user: Some("user".to_string()), ..Columns::default() };
    let data = read(&locate(folder.path(), None, &columns).unwrap(), &columns, SkipBad::NONE).unwrap();
    assert_eq!(shown(&data), ["9 7"]);
}

#[test]
fn a_folder_of_hugging_face_is_a_table() {
    let parts: &[_] =
        &[("data/train-00000-of-00002.parquet", 1, &[][..]), ("data/train-00001-of-00002.parquet", 2, &[])];
    let folder = table(parts);
    std::fs::write(folder.path().join("README.md"), "---\nlicense: mit\n---\n").unwrap();
    assert_eq!(shown(&read_path(folder.path()).unwrap()), ["1 7", "2 7"]);
    let message = refusal(&table(&[parts[0], parts[1], ("data/test-00000-of-00001.parquet", 3, &[])]));
    assert!(message.starts_with("T/data: found a folder with several files that may be"), "{message}");
    assert!(message.contains(": test-00000-of-00001.parquet, train-00000-of-00002.parquet, train-00001"), "{message}");
    let message = refusal(&table(&[("a/train-0.parquet", 1, &[]), ("b/train-0.parquet", 2, &[])]));
    let found = "T: found no file that looks like interactions, and the folders a, b; expected one such file (";
    assert!(message.starts_with(found) && message.ends_with("name the file or folder itself"), "{message}");
}

#[test]
fn panics_of_the_library_are_errors() {
    let error = super::guard::guarded::<()>(|| panic!("at {}", 1)).unwrap_err().to_string();
    assert!(error.contains("the reader stopped: at 1"), "{error}");
    assert_eq!(super::guard::guarded(|| Ok(7)).unwrap(), 7);
}

/// Footers by hand: a schema of 300,000 nested groups, and one that says that it has 2^31 - 1 fields.
#[test]
fn schemas_that_lie_are_refused() {
    let group = |children: &[u8]| [&[0x35, 0, 0x18, 1, b'g', 0x15][..], children, &[0]].concat();
    let leaf = [0x15, 2, 0x25, 0, 0x18, 1, b'x', 0];
    let footer = |elements: &[Vec<u8>]| {
        let len = elements.len() + 1;
        let len = [(len & 127 | 128) as u8, (len >> 7 & 127 | 128) as u8, (len >> 14) as u8];
        let mut footer =
            [&[0x15, 2, 0x19, 0xfc][..], &len, &elements.concat(), &leaf, &[0x16, 0, 0x19, 0x0c, 0]].concat();
        let size = (footer.len() as u32).to_le_bytes();
        footer.splice(0..0, *b"PAR1");
        [&footer[..], &size, b"PAR1"].concat()
    };
    let one = group(&[2]);
    for schema in [vec![one; 300_000], vec![group(&[0xfe, 0xff, 0xff, 0xff, 0x0f])], vec![group(&[1])]] {
        let error = read_bytes(&footer(&schema)).unwrap_err().to_string();
        assert!(error.contains("a footer whose schema is damaged"), "{error}");
    }
}

/// The files that are changed: all cases, and one of each encoding that tells sizes.
fn originals() -> Vec<Vec<u8>> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folders = ["small", "formats/parquet", "formats/parquet_folder/rating=1"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(cases.join(folder)).unwrap());
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let parquet = files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "parquet"));
    let mut originals: Vec<Vec<u8>> = parquet.map(|file| std::fs::read(file).unwrap()).collect();
    let texts: Vec<ByteArray> = (0..300).map(|n| format!("item {}", n % 70).as_bytes().into()).collect();
    let numbers: Vec<i64> = (0..300).map(|n| n * n % 97).collect();
    for encoding in ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"] {
        let schema = "message x { required int64 user; required binary item (UTF8); }";
        let properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_column_encoding("item".into(), encoding.parse().unwrap())
            .set_column_encoding("user".into(), parquet::basic::Encoding::DELTA_BINARY_PACKED);
        let mut out = vec![];
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(&mut out, schema, Arc::new(properties.build())).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for write in [&required::<Int64Type>(&numbers) as Write, &required::<ByteArrayType>(&texts)] {
            let mut column = group.next_column().unwrap().unwrap();
            write(&mut column);
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        originals.push(out);
    }
    originals
}

/// Reads files with a few changed, missing or additional bytes, half of them in the footer. None may take 10 seconds.
fn mutants(count: u64) {
    let originals = originals();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutant.parquet");
    let mut whole = 0;
    for number in 0..count {
        let mut stream = Stream::new(1, "mutants", number);
        let mut mutant = originals[stream.below(originals.len() as u32) as usize].clone();
        for _ in 0..=stream.below(8) {
            let len = mutant.len() as u32;
            let from = if stream.below(2) == 0 { len - len.min(700) } else { 0 };
            let at = (from + stream.below(len - from)) as usize;
            match stream.below(8) {
                0 => drop(mutant.remove(at)),
                1 => mutant.insert(at, stream.below(256) as u8),
                2 => mutant[at] = [0, 1, 0x7f, 0x80, 0xff][stream.below(5) as usize],
                _ => mutant[at] ^= 1 << stream.below(8),
            }
        }
        std::fs::write(&path, &mutant).unwrap();
        let start = std::time::Instant::now();
        match read_path(&path) {
            Ok(_) => whole += 1,
            Err(error) => assert!(matches!(error, Error::Input { .. }), "mutant {number}: {error}"),
        }
        assert!(start.elapsed().as_secs() < 10, "mutant {number} took {:?}", start.elapsed());
    }
    println!("{count} mutants, {whole} read");
}

#[test]
fn mutants_are_errors() {
    mutants(2000);
}

/// `cargo test --release --lib parquet::tests::many_mutants -- --ignored --nocapture`; the process says its memory.
#[test]
#[ignore = "100,000 files: a minute"]
fn many_mutants() {
    mutants(100_000);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("no VmHWM");
    println!("{peak}");
    let kib = peak.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    assert!(kib.is_none_or(|kib| kib < 1 << 20), "{peak}");
}
