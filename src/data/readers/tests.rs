//! Every format read, and everything that can be wrong with a file, by name.

use super::*;
use crate::error::Error;
use crate::tensor::philox::Stream;
use std::io::Write;
use std::path::{Path, PathBuf};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

fn read_path(path: &Path) -> Result<Interactions> {
    read(&locate(path, None, &Columns::default())?, &Columns::default(), SkipBad::NONE)
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    out.write_all(contents).unwrap();
    out.finish().unwrap()
}

/// Reads `contents` as a file called `name`: rows as `user item time value`.
fn rows(name: &str, contents: &str) -> (&'static str, Vec<String>) {
    let folder = Folder::new();
    let path = folder.file(name, contents);
    let source = locate(&path, None, &Columns::default()).unwrap();
    let data = read(&source, &Columns::default(), SkipBad::NONE).unwrap();
    // A packed file gives the same, whatever its name.
    for packed in [gzip(contents.as_bytes()), zstd::encode_all(contents.as_bytes(), 1).unwrap()] {
        let again = read_path(&folder.file("packed", packed)).unwrap();
        assert_eq!((&again.user, &again.item, &again.time), (&data.user, &data.item, &data.time));
    }
    (source.format.name(), listed(&data))
}

fn listed(data: &Interactions) -> Vec<String> {
    (0..data.len())
        .map(|i| {
            let value = data.value.as_ref().map(|v| format!(" {}", v[i])).unwrap_or_default();
            let behaviour =
                data.behaviour.as_ref().map(|b| format!(" {}", data.behaviours[b[i] as usize])).unwrap_or_default();
            let (user, item) = (data.user_names.get(data.user[i]), data.item_names.get(data.item[i]));
            format!("{user} {item} {}{value}{behaviour}", data.time[i])
        })
        .collect()
}

#[test]
fn each_format_is_told_by_its_contents() {
    let expected = ["7 9 978300760 4", "8 9 978300761 3.5"];
    let cases = [
        ("movielens", "7::9::4::978300760\n8::9::3.5::978300761\n"),
        ("movielens", "7::9::4::978300760\r\n8::9::3.5::978300761"),
        ("movielens", "7\t9\t4\t978300760\n8\t9\t3.5\t978300761\n"),
        ("movielens", "userId,movieId,rating,timestamp\n7,9,4,978300760\n8,9,3.5,978300761\n"),
        (
            "atomic",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t4\t978300760\n8\t9\t3.5\t9.78300761e8\n",
        ),
        ("delimited", "\u{feff}time;Item ID;User;rating\n978300760;9;\"7\";4\n\n978300761; 9;8;3.5\n"),
        (
            "amazon",
            "{\"reviewerID\":\"7\",\"asin\":\"9\",\"overall\":4.0,\"unixReviewTime\":978300760,\"x\":[1]}\n\
                          {\"reviewerID\":\"8\",\"asin\":\"9\",\"overall\":\"3.5\",\"unixReviewTime\":978300761}\n",
        ),
    ];
    for (format, contents) in cases {
        assert_eq!(rows("file", contents), (format, expected.map(String::from).to_vec()), "{contents}");
    }
    let events = "user\titem\tbehavior\ttime\n0\t3\tbuy\t1511929781\n0\t3\tcart\t1511929781\n";
    assert_eq!(rows("e", events).1, ["0 3 1511929781 buy", "0 3 1511929781 cart"]);
    assert_eq!(
        rows("s", "1 5 6 5\n2 6\n"),
        ("sequences", ["1 5 0", "1 6 1", "1 5 2", "2 6 3"].map(String::from).to_vec())
    );
}

#[test]
fn clocks() {
    let clock = |times: [i64; 2]| {
        let folder = Folder::new();
        let path = folder.file("f", format!("1::2::3::{}\n1::3::3::{}\n", times[0], times[1]));
        read_path(&path).map(|data| data.clock)
    };
    assert_eq!(clock([0, 1]).unwrap(), Clock::Order);
    assert_eq!(clock([0, 978_300_761]).unwrap(), Clock::Seconds);
    assert_eq!(clock([1_588_615_855_070, 1_588_615_855_071]).unwrap(), Clock::Milliseconds);
    assert!(clock([978_300_760, 99_999_999_999]).is_err());
    assert_eq!(read_path(&Folder::new().file("f", "1 2 3\n")).unwrap().clock, Clock::File);
}

/// The items of each user of a case, in order of time.
fn histories(case: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(case);
    let data = crate::data::DataConfig::default().load_with(&path, None).unwrap();
    let items = |user| data.history(user).iter().map(|&item| data.item_name(item)).collect::<Vec<_>>().join(" ");
    (0..data.users() as u32).map(|user| format!("{}: {}", data.user_name(user), items(user))).collect()
}

#[test]
fn times_order_a_history() {
    assert_eq!(histories("small/fraction_min4.csv"), ["1: a b c d"]);
    let repeats = histories("small/fraction_repeat.csv");
    assert_eq!(repeats.iter().map(|line| line.split(' ').count() - 1).sum::<usize>(), 12, "{repeats:?}");
    assert!(histories("small/time0.csv")[0].starts_with("1: 11 "));
}

#[test]
fn benchmark_files_give_whole_histories() {
    let folder = Folder::new();
    let header = "user_id:token\titem_id_list:token_seq\titem_id:token\n";
    folder.file("X.train.inter", format!("{header}0\ta b\tc\n0\ta\tb\n1\tb\tc\n"));
    folder.file("X.valid.inter", format!("{header}0\ta b c\td\n"));
    folder.file("X.test.inter", format!("{header}0\ta b c d\te\n"));
    let data = read_path(folder.0.path()).unwrap();
    assert_eq!(listed(&data), ["0 a 0", "0 b 1", "0 c 2", "0 d 3", "0 e 4", "1 b 5", "1 c 6"]);
    assert_eq!(listed(&read_path(&folder.0.path().join("X.test.inter")).unwrap()).len(), 7);
}

#[test]
fn folders() {
    let folder = Folder::new();
    let ratings = "1::2::3::978300760\n";
    folder.file("README.txt", "1 2 3\n");
    folder.file("movies.dat", "1::Toy Story (1995)::Animation\n");
    folder.file("ratings.dat.gz", gzip(ratings.as_bytes()));
    assert_eq!(read_path(folder.0.path()).unwrap().len(), 1);
    folder.file("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3,978300760\n");
    let message = read_path(folder.0.path()).unwrap_err().to_string();
    assert!(message.contains("several files") && message.contains("ratings.csv, ratings.dat.gz"), "{message}");

    let folder = Folder::new();
    assert!(read_path(folder.0.path()).unwrap_err().to_string().contains("a folder without a file"));
    folder.file("LastFM.txt", "1 2 3\n");
    assert_eq!(read_path(folder.0.path()).unwrap().len(), 2);
}

#[test]
fn parts_of_text_are_one_table() {
    let folder = Folder::new();
    let header = "user_id,item_id,timestamp\n";
    for (name, rows) in [("part-00010.csv", "c,1,9"), ("part-00009.csv", "b,1,9"), ("part-00000.csv", "a,1,9")] {
        folder.file(name, format!("{header}{rows}\n"));
    }
    folder.file("_SUCCESS", "");
    folder.file("part-00001.csv", "");
    assert_eq!(listed(&read_path(folder.0.path()).unwrap()), ["a 1 9", "b 1 9", "c 1 9"]);
    folder.file("part-00002.csv", "user_id,item_id\nd,1\n");
    let message = read_path(folder.0.path()).unwrap_err().to_string();
    assert!(message.contains("part-00002.csv:2: found no column of times, where "), "{message}");
    folder.file("part-00002.csv", "no header\n");
    let message = read_path(folder.0.path()).unwrap_err().to_string();
    assert!(message.contains("part-00002.csv:1: found "), "{message}");
    // Other numbers in names may be those of folds, or of years of other data.
    let folder = Folder::new();
    folder.file("fold1.csv", format!("{header}a,1,9\n"));
    folder.file("fold2.csv", format!("{header}a,1,9\n"));
    let message = read_path(folder.0.path()).unwrap_err().to_string();
    assert!(
        message.contains("several files that may be the interactions: fold1.csv, fold2.csv; expected"),
        "{message}"
    );
    let folder = Folder::new();
    folder.file("part-0.json", "{\"user\": 1, \"item\": 2, \"rating\": 3}\n");
    let second = folder.file("part-1.json", "{\"user\": 2, \"item\": 2, \"rating\": 3}\n");
    assert_eq!(read_path(folder.0.path()).unwrap().len(), 2);
    std::fs::write(second, "{\"user\": 2, \"item\": 2}\n").unwrap();
    let message = read_path(folder.0.path()).unwrap_err().to_string();
    assert!(message.contains("part-1.json:1: found no column of values, where "), "{message}");
}

#[test]
fn a_cut_split_has_one_set_of_columns() {
    let folder = Folder::new();
    folder.file("x.train.inter", "user_id:token\titem_id:token\trating:float\na\t1\t3\na\t2\t4\n");
    folder.file("x.valid.inter", "user_id:token\titem_id:token\na\t3\n");
    for name in ["", "x.train.inter", "x.valid.inter"] {
        let error = read_path(&folder.0.path().join(name)).unwrap_err();
        assert!(error.to_string().contains("x.valid.inter:2: found no column of values, where "), "{error}");
    }
    let columns = Columns { no_rating: true, ..Columns::default() };
    let source = locate(folder.0.path(), None, &columns).unwrap();
    assert_eq!(read(&source, &columns, SkipBad::NONE).unwrap().len(), 3);
}

#[test]
fn named_columns_and_files_without_header() {
    let folder = Folder::new();
    let path = folder.file("f", "who|what|when\nann|tea|978300760\n");
    let columns = Columns {
        user: Some("who".into()),
        item: Some("what".into()),
        time: Some("when".into()),
        ..Columns::default()
    };
    let source = locate(&path, Some(Format::DELIMITED), &columns).unwrap();
    assert_eq!(listed(&read(&source, &columns, SkipBad::NONE).unwrap()), ["ann tea 978300760"]);
    let wrong = Columns { item: Some("wat".into()), ..columns };
    let message = read(&source, &wrong, SkipBad::NONE).unwrap_err().to_string();
    assert!(
        message.contains(
            r#"f:1: found the columns ["who", "what", "when"]; expected a column "wat"; did you mean "what"?"#
        ),
        "{message}"
    );

    let path = folder.file("g", "1,2268318,2520377,pv,1511544070\n1,2333346,2520771,buy,1511561733\n");
    let [user, item, behaviour, time] = ["1", "2", "4", "5"].map(|name| Some(name.to_string()));
    let columns = Columns { user, item, behaviour, time, ..Columns::default() };
    let source = locate(&path, None, &columns).unwrap();
    assert_eq!(
        listed(&read(&source, &columns, SkipBad::NONE).unwrap()),
        ["1 2268318 1511544070 pv", "1 2333346 1511561733 buy"]
    );
}

#[test]
fn attribute_tables() {
    let folder = Folder::new();
    let path = folder
        .file("x.item", "item_id:token\tmovie_title:token_seq\tyear:float\n1\tToy \"Story\"\t1995\n2\tÀ bout\t\n");
    let table = read_attributes(&path).unwrap();
    assert_eq!(table.ids.iter().collect::<Vec<_>>(), ["1", "2"]);
    let (name, kind, cells) = &table.columns[0];
    assert_eq!(
        (name.as_str(), *kind, cells.get(0), cells.get(1)),
        ("movie_title", Kind::TokenSeq, "Toy \"Story\"", "À bout")
    );
    let cut = folder.file("y.item", "item_id:token\tyear:float\n1\n");
    assert!(read_attributes(&cut).unwrap_err().to_string().contains("y.item:2:1: found \"1\"; expected 2 fields"));
}

/// The message after the file's name.
fn complaint(contents: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    let error = read_path(&folder.file("file", contents)).unwrap_err();
    assert!(matches!(error, Error::Input { .. }) && error.exit_code() == 2, "{error:?}");
    error.to_string().rsplit_once("/file").unwrap().1.to_string()
}

#[test]
fn bad_input() {
    let good = "1::2::3::978300760\n";
    let csv = "user,item,rating,timestamp\n1,2,3,978300760\n";
    let long = "x".repeat(10_000);
    let absurd = "a time of the years 1840 to 2099";
    let cases: Vec<(Vec<u8>, String)> = vec![
        ("".into(), ": found an empty file; expected at least one line".into()),
        ("\n\n".into(), ":1: found nothing; expected the first line of a known format".into()),
        ("user,item\n".into(), ": found no interaction; expected at least one interaction".into()),
        (b"\x7fELF\x02\x01\x01\0\0\0".into(), ": found binary data, beginning \"\\u{7f}ELF".into()),
        (gzip(b"\0\0\0"), ": found binary data".into()),
        ("hello world\n".into(), ":1: found \"hello world\"; expected the first line of a known format".into()),
        // Cut in the middle of a line.
        (
            format!("{good}1::3::4").into(),
            ":2:3: found 3 fields, beginning \"1\"; expected 4 fields, as in the first line (is the line cut?)".into(),
        ),
        (format!("{good}1::3::").into(), ":2:3: found 3 fields, beginning \"1\"; expected 4 fields".into()),
        (format!("{good}1::3::5::").into(), ":2:4: found nothing; expected a time".into()),
        (format!("{good}1::3::5::97830").into(), ":2: found the time 97830 on a last line without an end".into()),
        (
            "1::2::3::1464000000\n1::3::5::146400001".into(),
            ":2: found the time 146400001 on a last line without an end, where all others are 1464000000 or more"
                .into(),
        ),
        (format!("{csv}1,3,").into(), ":3:3: found 3 fields, beginning \"1\"; expected 4 fields".into()),
        (format!("{csv}1,3,4,97830").into(), ":3: found the time 97830 on a last line without an end".into()),
        ("{\"reviewerID\":\"a\",\"asin\":\"b\",\"over".into(), ":1:34: found \"{\\\"reviewerID".into()),
        ("1 2 3\n2".into(), ":2:2: found nothing; expected at least one item".into()),
        (
            gzip(good.repeat(1000).as_bytes())[..60].into(),
            ": found a compressed file that ends early; expected a whole gzip file".into(),
        ),
        (zstd::encode_all(good.as_bytes(), 1).unwrap()[..20].into(), "expected a whole zstd file".into()),
        // Numbers.
        (
            "1::2::3::978300760\n1::2::good::978300760\n".into(),
            ":2:3: found \"good\"; expected a finite number as value".into(),
        ),
        ("1::2::NaN::978300760\n".into(), ":1:3: found \"NaN\"; expected a finite number".into()),
        (format!("{csv}1,2,inf,5\n").into(), ":3:3: found \"inf\"; expected a finite number".into()),
        ("1::2::3::9999999999999999999\n".into(), format!(":1:4: found \"9999999999999999999\"; expected {absurd}")),
        (format!("{good}1::2::3::9999999999\n").into(), format!(":2:4: found \"9999999999\"; expected {absurd}")),
        (format!("{csv}1,2,3,1e300\n").into(), format!(":3:4: found \"1e300\"; expected {absurd}")),
        (format!("{csv}1,2,3,2001-01-01\n").into(), ":3:4: found \"2001-01-01\"; expected a number, as in".into()),
        (format!("{csv}1,2,3,then\n").into(), ":3:4: found \"then\"; expected a time: Unix seconds, milli".into()),
        (
            "user,item,time\n1,2,2001-01-01 10:00:00\n1,3,2001-01-01 11".into(),
            ":3: found a time of 13 letters on a last line without an end, where all others have 19 or more".into(),
        ),
        // Headers.
        (
            "user,item,user\n1,2,3\n".into(),
            ":1:3: found the column \"user\" a second time; expected a header without".into(),
        ),
        (
            "user_id:token\titem_id:token\titem_id:token\n".into(),
            ":1:3: found the column \"item_id\" a second time".into(),
        ),
        ("userId,film\n1,2\n".into(), ":1: found \"userId,film\"; expected the first line".into()),
        // Ids.
        (format!("{csv}1,{long},3,5\n").into(), ":3:2: found \"xxxxx".into()),
        (format!("1 {long}1 3\n").replace('x', "1").into(), ":1:2: found \"11111".into()),
        (b"user,item\n1,caf\xe9\n".into(), ":2:2: found \"caf\\xe9\"; expected item ids in UTF-8".into()),
        (b"\xe9::2::3::978300760\n".into(), ":1".into()),
        ("user,item\n1,\n".into(), ":2:2: found nothing; expected an item id".into()),
        ("user,item\n ,1\n".into(), ":2:1: found \" \"; expected a user id".into()),
        ("1 2 3\n1 4\n".into(), ":2:1: found \"1\"; expected each user on one line only".into()),
        ("1::2::3::4::5\n".into(), ":1".into()),
    ];
    for (contents, expected) in cases {
        let got = complaint(&contents);
        assert!(
            got.contains(&expected),
            "{:?}\n     got {got}\nexpected {expected}",
            String::from_utf8_lossy(&contents[..contents.len().min(80)])
        );
        assert!(got.len() < 400, "{got}");
    }
    let missing = read_path(Path::new("/nowhere/ratings.dat")).unwrap_err();
    assert_eq!(missing.to_string(), "/nowhere/ratings.dat: found no such file; expected a file of interactions");
    assert!(
        complaint(format!("{csv}1,{long},3,5\n")).contains("(10000 bytes); expected item ids of at most 1024 bytes")
    );
    // Without an end of the quote the lines after it would be one id.
    let open = complaint(format!("{csv}1,\"i2,3,5\n1,i3\",3,6\n"));
    assert!(open.contains("expected item ids on one line"), "{open}");
    let open = complaint(format!("{csv}1,2,3,5\n1,\"i2,3,5\n1,i3,3,6\n"));
    assert!(open.starts_with(":4:2: found a quotation mark that is never closed, before \"i2,3,5"), "{open}");
}

#[test]
fn random_bytes_are_errors_and_never_panics() {
    let folder = Folder::new();
    let starts: [&[u8]; 8] = [
        b"",
        b"user,item,rating\n",
        b"1::2::3::4\n",
        b"user_id:token\titem_id:token\n",
        b"{\"reviewerID\":",
        b"PAR1",
        &[0x1f, 0x8b, 8, 0],
        &[0x28, 0xb5, 0x2f, 0xfd],
    ];
    let alphabet = b"0123456789:,\t \"{}\n\nu\xff\0.-e";
    for trial in 0..400 {
        let mut stream = Stream::new(1, "fuzz", trial);
        let mut contents = starts[trial as usize % starts.len()].to_vec();
        for _ in 0..stream.below(300) {
            contents.push(match trial % 3 {
                0 => stream.below(256) as u8,
                _ => alphabet[stream.below(alphabet.len() as u32) as usize],
            });
        }
        let path = folder.file("noise", &contents);
        let _ = read_path(&path);
        for format in Format::all() {
            let source = locate(&path, Some(*format), &Columns::default());
            let _ = source.and_then(|source| read(&source, &Columns::default(), SkipBad::ALL));
        }
    }
}

#[cfg(feature = "parquet")]
mod parquet_files {
    use super::*;
    use ::parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use std::sync::Arc;

    /// Users 0..n as integers, items as strings, ratings optional (null where `null`), times in microseconds.
    fn contents(n: usize, null: Option<usize>) -> Vec<u8> {
        let schema = "message x { required int64 user_id; required binary item_id (UTF8); optional double rating; \
                      required int64 timestamp (TIMESTAMP(MICROS, true)); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut out = vec![];
        let mut writer = SerializedFileWriter::new(&mut out, schema, Default::default()).unwrap();
        for rows in (0..n).collect::<Vec<_>>().chunks(5000) {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let users: Vec<i64> = rows.iter().map(|&r| r as i64).collect();
            column.typed::<Int64Type>().write_batch(&users, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let items: Vec<ByteArray> = rows.iter().map(|r| format!("item {}", r % 7).as_bytes().into()).collect();
            column.typed::<ByteArrayType>().write_batch(&items, None, None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = rows.iter().map(|&r| (Some(r) != null) as i16).collect();
            let ratings: Vec<f64> = rows.iter().filter(|&&r| Some(r) != null).map(|&r| r as f64 / 2.0).collect();
            column.typed::<DoubleType>().write_batch(&ratings, Some(&levels), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let times: Vec<i64> = rows.iter().map(|&r| (1_588_615_855_070 + r as i64) * 1000).collect();
            column.typed::<Int64Type>().write_batch(&times, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        out
    }

    #[test]
    fn row_groups_blocks_and_types() {
        let folder = Folder::new();
        let plain = contents(12_000, None);
        for (name, contents) in [("x.parquet.gz", gzip(&plain)), ("x.parquet", plain)] {
            let data = read_path(&folder.file(name, contents)).unwrap();
            assert_eq!((data.len(), data.item_names.len(), data.clock), (12_000, 7, Clock::Milliseconds));
            assert_eq!(listed(&data)[11_999], "11999 item 1 1588615867069 5999.5");
        }
    }

    #[test]
    fn nulls_and_cut_files_are_errors() {
        let got = complaint(contents(6000, Some(5500)));
        assert_eq!(got, ":5501:3: found \"null\"; expected a finite number as value (--no-rating reads none)");
        let whole = contents(6000, None);
        for len in [4, 8, 100, whole.len() / 2, whole.len() - 1] {
            assert!(complaint(&whole[..len]).contains("expected a Parquet file"), "{len}");
        }
        let mut stream = Stream::new(1, "fuzz", 0);
        let folder = Folder::new();
        for _ in 0..200 {
            let mut broken = contents(50, None);
            let at = stream.below(broken.len() as u32) as usize;
            broken[at] ^= 1 << stream.below(8);
            let _ = read_path(&folder.file("broken", broken));
        }
    }
}

/// A shorter last time is a sign of a cut only on a line without an end, and among clocks.
#[test]
fn shorter_times_that_are_none_of_a_cut() {
    for (contents, unended) in [
        ("1::2::3::1464000000\n1::3::5::146400001\n", false),
        ("1::2::3::1464000000\n1::3::5::1464000001", true),
        ("1::2::3::146400000\n1::2::3::1464000000\n1::3::5::146400001", true),
        ("1::2::3::10\n1::3::5::9", true),
    ] {
        let folder = Folder::new();
        let data = read_path(&folder.file("file", contents)).unwrap();
        assert_eq!(data.unended, unended, "{contents:?}");
    }
}

#[test]
fn rows_that_do_not_parse_are_left_out_where_they_may_be() {
    let folder = Folder::new();
    let contents =
        "user,item,rating,timestamp\n1,2,3,978300760\n1,,3,978300761\n1,5,bad,978300762\n1,6\n2,7,3,978300763\n";
    let source = locate(&folder.file("file", contents), None, &Columns::default()).unwrap();
    let with = |skip| read(&source, &Columns::default(), skip);
    assert!(with(SkipBad::NONE).unwrap_err().to_string().contains(":3:2: found nothing; expected an item id"));
    assert!(with(SkipBad::at_most(2)).unwrap_err().to_string().contains(":5:2: found 2 fields"));
    for skip in [SkipBad::at_most(3), SkipBad::ALL] {
        let data = with(skip).unwrap();
        assert_eq!(listed(&data), ["1 2 978300760 3", "2 7 978300763 3"]);
        assert_eq!((data.user_names.len(), data.item_names.len()), (2, 2));
        assert!(data.notes[1].starts_with("3 rows that do not parse left out, the first: "), "{:?}", data.notes);
        assert!(data.notes[1].ends_with("/file:3:2: found nothing; expected an item id"), "{:?}", data.notes);
    }
    for (text, skip) in [("all", SkipBad::ALL), ("0", SkipBad::NONE), ("7", SkipBad::at_most(7))] {
        assert_eq!(text.parse::<SkipBad>().unwrap(), skip);
        let json = serde_json::to_string(&skip).unwrap();
        assert_eq!((json.trim_matches('"'), serde_json::from_str::<SkipBad>(&json).unwrap()), (text, skip));
    }
}

#[test]
fn null_markers_are_no_ids_and_sessions_stand_in_for_null_users() {
    for null in ["", "NA", "N/A", "null", "NULL", "None", "NaN", "nan", "\\N"] {
        assert!(complaint(format!("user,item\n1,2\n1,{null}\n")).contains("expected an item id"), "{null}");
        assert!(complaint(format!("user,item\n1,2\n{null},2\n")).contains("expected a user id"), "{null}");
        let folder = Folder::new();
        let path = folder.file("file", format!("sessionId;userId;itemId\n1;a;10\n2;{null};11\n2;{null};12\n"));
        let data = read_path(&path).unwrap();
        assert_eq!(listed(&data), ["1 10 0", "2 11 1", "2 12 2"]);
        assert_eq!(data.notes[..1], ["users are null in this file: the sessions (sessionId) are the users"]);
        let columns = Columns { user: Some("userId".into()), ..Columns::default() };
        let error = read(&locate(&path, None, &Columns::default()).unwrap(), &columns, SkipBad::NONE).unwrap_err();
        assert!(error.to_string().contains("file:3:2: found"), "{error}");
    }
}
