//! Every layout in tests/cases gives the same events: who, what, in which order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wgrec::Error;
use wgrec::data::{DataConfig, Dataset};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

/// Reads a case with settings under `data.` in TOML.
fn load(name: &str, settings: &str) -> Result<Dataset, Error> {
    toml::from_str::<DataConfig>(settings).unwrap().load_with(&case(name), None)
}

/// How ids are written: what comes before and after the number, and its base.
type Ids = (&'static str, &'static str, u32);

const PLAIN: Ids = ("", "", 10);

/// Gowalla's users count from 0.
const GOWALLA: &str = "gowalla/Gowalla_totalCheckins.txt";

/// What the times of a file tell.
#[derive(Clone, Copy)]
enum Times {
    /// To this number of seconds; events within them are in the order of the file.
    To(i64),
    /// Nothing: the order is that of the file.
    None,
}

/// The items of each user in their order.
type Histories = BTreeMap<u32, Vec<u32>>;

/// The 333 events of a file of Taobao, as user, item and Unix seconds, in its order.
fn events_of(name: &str) -> Vec<(u32, u32, i64)> {
    let text = std::fs::read_to_string(case("formats/taobao").join(name)).unwrap();
    let event = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        (fields[0].parse().unwrap(), fields[1].parse().unwrap(), fields[4].parse().unwrap())
    };
    text.lines().map(event).collect()
}

/// The events that all layouts have.
fn events() -> Vec<(u32, u32, i64)> {
    events_of("UserBehavior.csv")
}

fn expected(events: &[(u32, u32, i64)], times: Times) -> Histories {
    let mut sorted: Vec<&(u32, u32, i64)> = events.iter().collect();
    if let Times::To(seconds) = times {
        sorted.sort_by_key(|event| event.2.div_euclid(seconds));
    }
    let mut histories = Histories::new();
    for (user, item, _) in sorted {
        histories.entry(*user).or_default().push(*item);
    }
    histories
}

fn histories(data: &Dataset, users: Ids, items: Ids) -> Histories {
    let number = |id: &str, (before, after, base): Ids| {
        let digits = id.strip_prefix(before).and_then(|id| id.strip_suffix(after));
        let digits = digits.unwrap_or_else(|| panic!("{id:?} is not {before}N{after}"));
        u32::from_str_radix(digits, base).unwrap()
    };
    let history = |user| data.history(user).iter().map(|&item| number(data.item_name(item), items)).collect();
    (0..data.users() as u32).map(|user| (number(data.user_name(user), users), history(user))).collect()
}

#[test]
fn each_layout_gives_the_same_events() {
    let amazon = ("A0", "XQZK7", 10);
    let amazon23 = ("AGA0", "XQZK7", 10);
    let asin = ("B0000000", "", 10);
    let mbid = ("f1b1cf71-bd35-4e99-8624-0000000000", "", 10);
    let to = |seconds| Times::To(seconds);
    let cases = [
        ("amazon2014/ratings_Beauty.csv", "", amazon, asin, to(1)),
        ("amazon2014/reviews_Beauty_5.json.gz", "", amazon, asin, to(1)),
        ("amazon2023/All_Beauty.csv.gz", "", amazon23, asin, to(1)),
        ("amazon2023/All_Beauty.jsonl.gz", "", amazon23, asin, to(1)),
        ("amazon2023/All_Beauty.train.csv.gz", "", amazon23, asin, to(1)),
        ("bookcrossing/BX-Book-Ratings.csv", "", ("2760", "", 10), ("03450000", "", 10), Times::None),
        ("diginetica/train-item-views.csv", "", PLAIN, PLAIN, to(1)),
        (GOWALLA, "", PLAIN, ("228", "", 10), to(1)),
        ("kuairec/big_matrix.csv", "", PLAIN, PLAIN, to(1)),
        ("kuairec/small_matrix.csv", "columns.no_time = true", PLAIN, PLAIN, Times::None),
        ("lastfm1k/userid-timestamp-artid-artname-traid-traname.tsv", "", ("user_0000", "", 10), mbid, to(1)),
        (
            "lastfm360k/usersha1-artmbid-artname-plays.tsv",
            "",
            ("00000000000000000000000000000000000000", "", 16),
            ("3bd73256-3905-4f3a-97e2-0000000000", "", 10),
            Times::None,
        ),
        ("ml1m/ratings.dat", "", PLAIN, PLAIN, to(1)),
        ("ml25m/ratings.csv", "", PLAIN, PLAIN, to(1)),
        ("ml20m-kaggle/rating.csv", "", PLAIN, PLAIN, to(1)),
        ("retailrocket/events.csv", "", PLAIN, PLAIN, to(1)),
        ("sasrec/Beauty.txt", "", PLAIN, PLAIN, to(1)),
        ("steam/steam_reviews.json", "", ("u", "", 10), ("3280", "", 10), to(86_400)),
        ("taobao/UserBehavior.csv", "", PLAIN, PLAIN, to(1)),
        ("tianchi/tianchi_mobile_recommend_train_user.csv", "", PLAIN, PLAIN, to(3600)),
        ("yelp/yelp_academic_dataset_review.json", "", ("u-0", "_A", 10), ("b0", "-Z", 10), to(1)),
    ];
    for (name, settings, users, items, times) in cases {
        let data = load(&format!("formats/{name}"), settings).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((data.users(), data.items(), data.interactions()), (40, 25, 333), "{name}");
        let mut events = events();
        events.iter_mut().for_each(|event| event.0 -= (name == GOWALLA) as u32);
        assert_eq!(histories(&data, users, items), expected(&events, times), "{name}");
    }
}

#[cfg(feature = "parquet")]
#[test]
fn each_parquet_file_gives_the_same_events() {
    let wide = (4_000_000_000, (1 << 63) + 10);
    for (name, settings, (users, items), letter, times) in [
        ("parquet/categorical.parquet", "", (0, 0), "é", Times::To(1)),
        ("parquet/date32.parquet", "", (0, 0), "", Times::To(86_400)),
        ("parquet/datetime_int96.parquet", "", (0, 0), "", Times::To(1)),
        ("parquet/datetime_ns.parquet", "", (0, 0), "", Times::To(1)),
        ("parquet/datetime_us_v1.parquet", "", (0, 0), "", Times::To(1)),
        ("parquet/float_ids.parquet", "", (0, 0), "", Times::To(1)),
        ("parquet/lists.parquet", "", (0, 0), "", Times::To(1)),
        ("parquet/lz4.parquet", "", (0, 0), "", Times::To(1)),
        ("parquet/null_rating.parquet", "columns.no_rating = true", (0, 0), "", Times::To(1)),
        ("parquet/unsigned.parquet", "", wide, "", Times::To(1)),
        ("parquet_folder", "", (0, 0), "", Times::To(1)),
    ] {
        let data = load(&format!("formats/{name}"), settings).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((data.users(), data.items(), data.interactions()), (40, 25, 333), "{name}");
        let number = |id: &str, base: u64| (id.parse::<u64>().unwrap() - base) as u32;
        let item = |item| number(data.item_name(item).strip_prefix(letter).unwrap(), items);
        let history = |user| data.history(user).iter().map(|&number| item(number)).collect();
        let histories: Histories =
            (0..data.users() as u32).map(|user| (number(data.user_name(user), users), history(user))).collect();
        assert_eq!(histories, expected(&events(), times), "{name}");
    }
    let error = load("formats/parquet/null_rating.parquet", "").unwrap_err().to_string();
    assert!(error.contains("null_rating.parquet:6:3: found \"null\"; expected a finite number as value"), "{error}");
    // What the folders say is a column.
    let data = load("formats/parquet_folder", "min_value = 4.0").unwrap();
    assert_eq!(data.interactions(), 74 + 60);
}

#[cfg(feature = "parquet")]
#[test]
fn small_parquet_files() {
    let data = load("small/unsigned_min.parquet", "").unwrap();
    assert_eq!((data.user_name(0), data.history(0), data.item_name(4)), ("3000000000", &[1, 2, 3, 4][..], "4"));
    let data = load("small/decimal_int.parquet", "min_value = 4.0").unwrap();
    assert_eq!((data.interactions(), data.values(0).unwrap()), (8, &[4.5, 4.5][..]));
    for name in ["hostile_metadata.parquet", "hostile_page.parquet"] {
        let error = load(&format!("small/{name}"), "").unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn an_event_before_1970_is_the_first() {
    let data = load("formats/taobao/UserBehavior_negative_time.csv", "").unwrap();
    let events = events_of("UserBehavior_negative_time.csv");
    let &(user, item, _) = events.iter().min_by_key(|event| event.2).unwrap();
    assert_eq!(histories(&data, PLAIN, PLAIN)[&user][0], item);
    assert_eq!(histories(&data, PLAIN, PLAIN), expected(&events, Times::To(1)));
}

#[test]
fn rows_without_a_time_are_refused_or_left_out() {
    let name = "formats/kuairec/small_matrix.csv";
    let error = load(name, "").unwrap_err().to_string();
    assert!(error.contains("small_matrix.csv:2:7: found nothing; expected a time"), "{error}");
    assert!(load(name, "skip_bad = 16").unwrap_err().to_string().contains(":7: found nothing; expected a time"));
    for settings in ["skip_bad = \"all\"", "skip_bad = 17"] {
        let data = load(name, settings).unwrap();
        assert_eq!(data.interactions(), 316);
        let notes = data.notes().join("\n");
        assert!(notes.contains("17 rows that do not parse left out, the first: "), "{notes}");
        assert!(notes.contains("time timestamp (not time, date)"), "{notes}");
    }
}

#[test]
fn one_user_of_steam_australia() {
    let data = load("formats/steam/australian_user_reviews.json", "").unwrap();
    assert_eq!((data.user_name(0), data.item_name(1), data.interactions()), ("7656", "1250", 1));
}

/// Without its times, the newest first would be the oldest.
#[test]
fn a_file_without_times_says_so() {
    let columns = "columns = {user = \"1\", item = \"5\"}\nformat = \"delimited\"";
    let notes = load("formats/gowalla/Gowalla_totalCheckins.txt", columns).unwrap().notes().join("\n");
    assert!(notes.contains("no times: the order of the file"), "{notes}");
    assert!(notes.contains("warning: no times are read and the file looks newest first"), "{notes}");
    assert!(notes.contains("--time-column 2"), "{notes}");
    let notes = load("formats/sasrec/Beauty.txt", "").unwrap().notes().join("\n");
    assert!(notes.contains("no times: the order of the file") && !notes.contains("warning"), "{notes}");
    let notes = load("small/time0.csv", "").unwrap().notes().join("\n");
    assert!(notes.contains("1 times from 1970-01-01 00:00:00 on lie 31 years before all others"), "{notes}");
}

/// Where several files may be meant, nothing is guessed.
#[test]
fn a_folder_with_several_candidates_asks() {
    for (folder, files) in [
        ("amazon2023", "All_Beauty.csv.gz, All_Beauty.jsonl.gz, All_Beauty.train.csv.gz"),
        ("kuairec", "big_matrix.csv, small_matrix.csv"),
        ("taobao", "UserBehavior.csv, UserBehavior_negative_time.csv"),
        ("steam", "australian_user_reviews.json, steam_reviews.json"),
    ] {
        let error = load(&format!("formats/{folder}"), "").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(&format!("may be the interactions: {files}")), "{error}");
    }
    for folder in ["ml1m", "ml25m", "ml20m-kaggle", "bookcrossing", "diginetica", "yelp", "sasrec", "lastfm1k"] {
        assert_eq!(load(&format!("formats/{folder}"), "").unwrap().interactions(), 333, "{folder}");
    }
}

#[test]
fn small_cases() {
    for (name, settings, users, items, events) in [
        ("quote_min.tsv", "", 1, 4, 4),
        ("quote_unclosed.tsv", "", 1, 4, 4),
        ("asin_min.csv", "", 1, 1, 2),
        ("asin_min.jsonl", "", 1, 1, 2),
        ("session_min.csv", "", 2, 4, 4),
        ("noheader_min.csv", "columns = {user = \"1\", item = \"2\", time = \"3\"}", 1, 2, 2),
        ("emptyrating.csv", "columns.no_rating = true", 4, 5, 16),
    ] {
        let data = load(&format!("small/{name}"), settings).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((data.users(), data.items(), data.interactions()), (users, items, events), "{name}");
    }
    for (name, expected) in [
        ("quote_unclosed.csv", "quote_unclosed.csv:2:3: found a quotation mark that is never closed, before \"Heroes"),
        ("emptyrating.csv", "emptyrating.csv:3:3: found nothing; expected a finite number as value (--no-rating"),
    ] {
        let error = load(&format!("small/{name}"), "").unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(expected), "{error}");
    }
    let data = load("small/noheader_min.csv", "columns = {user = \"1\", item = \"2\", time = \"3\"}").unwrap();
    assert_eq!([1, 2].map(|item| data.item_name(item)), ["a, b", "c"]);
    let notes = load("small/two_times.csv", "").unwrap().notes().join("\n");
    assert!(notes.contains("time timestamp (not time)"), "{notes}");
    let notes = load("small/asin_min.csv", "").unwrap().notes().join("\n");
    assert!(notes.contains("item parent_asin (not asin)") && notes.contains("200% of all pairs"), "{notes}");
}

/// RecBole's files of one event a row are one table, and the split is theirs.
#[test]
fn a_split_in_files_is_kept() {
    use wgrec::data::{Part, Split, SplitKind};
    let folder = tempfile::tempdir().unwrap();
    let write = |part: &str, rows: &str| {
        let header = "user_id:token\titem_id:token\ttimestamp:float\n";
        std::fs::write(folder.path().join(format!("x.{part}.inter")), format!("{header}{rows}")).unwrap();
    };
    // User a: two events to test, one of them older than what is learned from; user b: none.
    write("train", "a\t1\t1000000010\na\t2\t1000000020\nb\t1\t1000000010\nb\t3\t1000000011\n");
    write("valid", "a\t3\t1000000015\n");
    write("test", "a\t4\t1000000040\na\t5\t1000000001\n");
    let config = DataConfig::default();
    for path in [folder.path().to_path_buf(), folder.path().join("x.test.inter"), folder.path().join("x.train.inter")] {
        let data = config.load_with(&path, None).unwrap();
        let items = |user| data.history(user).iter().map(|&item| data.item_name(item)).collect::<String>();
        assert_eq!((items(0), items(1)), ("12354".to_string(), "13".to_string()));
        let split = Split::new(&data, config.split).unwrap();
        assert_eq!(split.targets(&data, Part::Valid).collect::<Vec<_>>(), [(0, 2)]);
        assert_eq!(split.targets(&data, Part::Test).collect::<Vec<_>>(), [(0, 3), (0, 4)]);
        assert!(split.describe(&data).starts_with("as the files are cut: 1 users evaluated, 1 left out"));
    }
    // Another split puts the events in their order in time again.
    let config = DataConfig { split: "ratio:60,20,20".parse::<SplitKind>().unwrap(), ..config };
    let data = config.load_with(folder.path(), None).unwrap();
    let items: String = data.history(0).iter().map(|&item| data.item_name(item)).collect();
    assert_eq!(items, "51324");
}

/// Unix seconds in UTC, as strftime writes them.
fn date(seconds: i64, form: &str) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().strftime(form).to_string()
}

/// ISO 8601.
const ISO: &str = "%Y-%m-%dT%H:%M:%S";

/// Layouts that the cases have no file of, written as their data sets write them.
#[test]
fn other_layouts_give_the_same_events() {
    let events = events();
    let lines = |line: &dyn Fn(u32, u32, i64) -> String| -> String {
        events.iter().map(|&(user, item, time)| line(user, item, time) + "\n").collect()
    };
    let by = |first: fn(&(u32, u32, i64)) -> u32| {
        let mut groups: BTreeMap<u32, Vec<(u32, u32, i64)>> = BTreeMap::new();
        events.iter().for_each(|event| groups.entry(first(event)).or_default().push(*event));
        groups
    };
    let netflix = by(|event| event.1).into_iter().map(|(item, events)| {
        let rows = events.iter().map(|(user, _, time)| format!("{user},3,{}\n", date(*time, "%Y-%m-%d")));
        format!("{item}:\n{}", rows.collect::<String>())
    });
    let otto = by(|event| event.0).into_iter().map(|(user, events)| {
        let event = |e: &(u32, u32, i64)| format!("{{\"aid\":{},\"ts\":{}000,\"type\":\"clicks\"}}", e.1, e.2);
        let events: Vec<String> = events.iter().map(event).collect();
        format!("{{\"session\":{user},\"events\":[{}]}}\n", events.join(","))
    });
    let mind = |u: u32, i: u32, t: i64| format!("1\tU{u}\t{}\tN99 N98\tN77-0 N{i}-1", date(t, "%m/%d/%Y %-I:%M:%S %p"));
    let hex = |item: u32| format!("3fd66200f964a52000e7{item:04}");
    let twitter = |t: i64| date(t, "%a %b %d %H:%M:%S +0000 %Y");
    let cases: Vec<(&str, String, Ids, Ids, Times)> = vec![
        ("netflix", netflix.collect(), PLAIN, PLAIN, Times::To(86_400)),
        ("otto", otto.collect(), PLAIN, PLAIN, Times::To(1)),
        (
            "otto",
            "session,aid,ts,type\n".to_string() + &lines(&|u, i, t| format!("{u},{i},{t},0")),
            PLAIN,
            PLAIN,
            Times::To(1),
        ),
        ("mind", lines(&mind), ("U", "", 10), ("N", "", 10), Times::To(1)),
        (
            "yoochoose",
            lines(&|u, i, t| format!("{u},{}.123Z,2145{i:02},0", date(t, ISO))),
            PLAIN,
            ("2145", "", 10),
            Times::To(1),
        ),
        (
            "yoochoose",
            lines(&|u, i, t| format!("{u},{}.123Z,2145{i:02},12462,1", date(t, ISO))),
            PLAIN,
            ("2145", "", 10),
            Times::To(1),
        ),
        (
            "foursquare",
            lines(&|u, i, t| {
                format!("{u}\t{}\t4bf58dd8d48988d127951735\tCafe\t40.7\t-74.0\t-240\t{}", hex(i), twitter(t))
            }),
            PLAIN,
            ("3fd66200f964a52000e7", "", 10),
            Times::To(1),
        ),
        (
            "foursquare",
            lines(&|u, i, t| format!("{u}\t{}\t{}\t-240", hex(i), twitter(t))),
            PLAIN,
            ("3fd66200f964a52000e7", "", 10),
            Times::To(1),
        ),
        (
            "gowalla",
            lines(&|u, i, t| {
                format!("{u}\t{}\t39.7\t-104.9\t88c46bf20db295831bd2d1718ad7e6{i:02}", date(t, ISO) + "Z")
            }),
            PLAIN,
            ("88c46bf20db295831bd2d1718ad7e6", "", 10),
            Times::To(1),
        ),
        (
            "amazon",
            lines(&|u, i, t| format!("B0000000{i:02},A0{u:02}XQZK7,5.0,{t}")),
            ("A0", "XQZK7", 10),
            ("B0000000", "", 10),
            Times::To(1),
        ),
        ("movielens", lines(&|u, i, t| format!("{u}\t{i}\t3\t{t}")), PLAIN, PLAIN, Times::To(1)),
        (
            "steam200k",
            lines(&|u, i, _| format!("{u},\"Game, {i}\",purchase,1.0,0")),
            PLAIN,
            ("Game, ", "", 10),
            Times::None,
        ),
        ("twitch", lines(&|u, i, t| format!("{u},33842865744,{i},{t},{}", t + 10)), PLAIN, PLAIN, Times::To(1)),
        (
            "steam",
            lines(&|u, i, _| {
                format!("{{'user_id': '{u}', 'user_url': u'x', 'reviews': [{{'item_id': '{i}', 'review': \"it's\"}}]}}")
            }),
            PLAIN,
            PLAIN,
            Times::None,
        ),
        ("pairs", lines(&|u, i, _| format!("{u} {i}")), PLAIN, PLAIN, Times::None),
        (
            "delimited",
            "event_time,event_type,product_id,user_id,user_session\n".to_string()
                + &lines(&|u, i, t| format!("{} UTC,view,{i},{u},x", date(t, ISO))),
            PLAIN,
            PLAIN,
            Times::To(1),
        ),
        (
            "json",
            lines(&|u, i, t| format!("{{\"uid\": {u}, \"track_id\": {i}, \"ts\": \"{t}\", \"x\": [null, {{}}]}}")),
            PLAIN,
            PLAIN,
            Times::To(1),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (format, contents, users, items, times) in cases {
        let path = folder.path().join("file");
        std::fs::write(&path, contents).unwrap();
        let named = DataConfig {
            format: toml::from_str::<DataConfig>(&format!("format = {format:?}")).unwrap().format,
            ..DataConfig::default()
        };
        let by_name = named.load_with(&path, None).unwrap_or_else(|e| panic!("{format}: {e}"));
        let found = DataConfig::default().load_with(&path, None);
        assert_eq!(found.is_err(), format == "twitch", "{format}");
        let mut events = events.clone();
        if format == "netflix" {
            events.sort_by_key(|event| event.1);
        }
        for data in found.into_iter().chain([by_name]) {
            assert!(
                data.notes()[0].starts_with(&format!("{format}: 333 interactions of 40 users and 25 items")),
                "{format}: {:?}",
                data.notes()
            );
            assert_eq!(histories(&data, users, items), expected(&events, times), "{format}");
        }
    }
}

/// The parts of the Netflix Prize in a folder are one table.
#[test]
fn netflix_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in [
        ("combined_data_1.txt", "1:\n7,3,2005-09-06\n8,5,2005-05-13\n"),
        ("combined_data_2.txt", "2:\n7,4,2005-09-07\n"),
        ("README", "x"),
    ] {
        std::fs::write(folder.path().join(name), contents).unwrap();
    }
    let data = DataConfig::default().load_with(folder.path(), None).unwrap();
    assert_eq!((data.users(), data.items(), data.interactions()), (2, 2, 3));
}

/// A rating or a time that the first object lacks is one of the file, and its absence an error.
#[test]
fn an_object_lacks_what_others_have() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let first = "{\"user_id\":\"a\",\"item_id\":1}\n";
    std::fs::write(&path, format!("{first}{{\"user_id\":\"a\",\"item_id\":2,\"timestamp\":1500000000}}\n")).unwrap();
    let read = |settings: &str| {
        let config: DataConfig = toml::from_str(settings).unwrap();
        config.load_with(&path, None)
    };
    let error = read("").unwrap_err().to_string();
    assert!(
        error.contains("events.jsonl:1") && error.contains("the field timestamp (--no-time reads none)"),
        "{error}"
    );
    assert_eq!(read("columns.no_time = true").unwrap().interactions(), 2);
}
