//! What is shown of a trained run: vectors that make the scores of recommend, interests that are made of the history.

mod program;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use program::{Bench, fitting};
use safetensors::SafeTensors;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use wgrec::data::{Columns, HistoryFile, SkipBad};
use wgrec::look::Pick;
use wgrec::train::{RunFolder, Session};

const TITLED: [&str; 4] =
    ["i1,Alien & Aliens,Horror|Sci-Fi", "i2,\"<b>\u{c9}toile</b>\",Drama", "i3,Heat\u{1b}[31m,Crime", "i4,,Drama"];

/// A row of vectors: ids and numbers by column, and the vector.
struct Row {
    cells: HashMap<String, String>,
    vector: Vec<f32>,
}

impl Row {
    fn id(&self, column: &str) -> &str {
        &self.cells[column]
    }

    fn number(&self, column: &str) -> f32 {
        self.cells.get(column).map_or(0.0, |cell| cell.parse().unwrap())
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn ids(path: &Path) -> Vec<HashMap<String, String>> {
    let mut lines = csv::ReaderBuilder::new().delimiter(b'\t').from_path(path).unwrap();
    lines.deserialize().map(Result::unwrap).collect()
}

/// Exports as NPY, and reads that.
fn npy(bench: &Bench, what: &str, run: &str) -> Vec<Row> {
    let file = format!("{run}-{what}.npy");
    bench.ok(&["export", what, "--run", run, "--output", &file]);
    let bytes = fs::read(bench.path(&file)).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let [rows, width] = array.shape()[..] else { panic!("{:?}", array.shape()) };
    let values: Vec<f32> = array.into_vec().unwrap();
    let ids = ids(&bench.path(&format!("{run}-{what}.ids.tsv")));
    assert_eq!((ids.len(), values.len()), (rows as usize, (rows * width) as usize));
    ids.into_iter().zip(values.chunks(width as usize)).map(|(cells, v)| Row { cells, vector: v.to_vec() }).collect()
}

/// Scores of all items by user and item.
fn scores(bench: &Bench, run: &str) -> HashMap<(String, String), f32> {
    bench.ok(&["recommend", "--run", run, "-k=40", "--unmasked", "--output=all.csv"]);
    let text = fs::read_to_string(bench.path("all.csv")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        ((cells[0].to_string(), cells[1].to_string()), cells[3].parse().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

fn close(a: f32, b: f32) -> bool {
    (a - b).abs() <= 5e-6 + 2e-5 * a.abs().max(b.abs())
}

#[test]
fn exported_vectors_make_the_scores() {
    let bench = Bench::new();
    for (run, model, more) in [
        ("pomrec", "pomrec", &["--set=model.variant=paper"][..]),
        ("cosine", "pomrec", &["--set=model.cosine=true", "--set=model.prompts=0"]),
        ("sasrec", "sasrec", &[]),
        ("caser", "caser", &[]),
        ("fpmc", "fpmc", &[]),
        ("bert4rec", "bert4rec", &[]),
        ("ease", "ease", &["--set=model.ridge=5"]),
        ("comirec", "comirec", &[]),
        ("routing", "comirec", &["--set=model.extractor=routing"]),
        ("mind", "mind", &[]),
        ("miner", "miner", &[]),
        ("timirec", "timirec", &[]),
    ] {
        bench.train(model, run, &[more, &["--set=train.epochs=1"]].concat());
        let want = scores(&bench, run);
        let (users, items) = (npy(&bench, "users", run), npy(&bench, "items", run));
        assert_eq!((want.len(), users.len(), items.len()), (60 * 40, 60, 40), "{run}");
        assert_eq!(items[0].cells.contains_key("bias"), ["caser", "bert4rec"].contains(&model), "{run}");
        let of = |user: &str, item: &Row| want[&(user.to_string(), item.id("item").to_string())];
        // Of these a user has a vector for each interest, of which the best counts.
        let best = ["comirec", "mind"].contains(&model);
        for (user, item) in users.iter().flat_map(|user| items.iter().map(move |item| (user, item))) {
            let parts = user.vector.chunks(item.vector.len()).map(|part| dot(part, &item.vector));
            let (score, want) =
                (parts.fold(f32::NEG_INFINITY, f32::max) + item.number("bias"), of(user.id("user"), item));
            assert!(close(score, want), "{run}: {score} {want}");
        }
        if !best && !["pomrec", "miner", "timirec"].contains(&model) {
            continue;
        }
        let interests = npy(&bench, "interests", run);
        assert_eq!(interests.len(), 60 * 2);
        for (user, both) in users.iter().zip(interests.chunks(2)) {
            assert_eq!([0, 1].map(|i| both[i].id("interest")), ["1", "2"]);
            assert_eq!([0, 1].map(|i| both[i].id("user")), [user.id("user"); 2]);
            for item in &items {
                let [a, b] = [0, 1].map(|i| dot(&both[i].vector, &item.vector));
                let score = match best {
                    true => a.max(b),
                    false => both[0].number("weight") * a + both[1].number("weight") * b,
                };
                assert_eq!(both[0].cells.contains_key("weight"), !best);
                let want = of(user.id("user"), item);
                assert!(close(score, want), "{run}: {score} {want}");
            }
        }
    }
}

/// The shares of MCPRN's channels in an item, by the defaults of its temperature and cut.
fn gates(router: &[f32], item: &[f32]) -> Vec<f32> {
    let shares: Vec<f32> = router.chunks(item.len()).map(|row| (dot(row, item) / 0.1).exp()).collect();
    let all: f32 = shares.iter().sum();
    shares.iter().map(|share| share / all).map(|share| if share < 0.01 { 0.0 } else { share }).collect()
}

#[test]
fn channels_are_weighted_by_the_item() {
    let bench = Bench::new();
    bench.train("mcprn", "run", &["--set=model.channels=3"]);
    let (file, want) = (bench.model("run"), scores(&bench, "run"));
    let router = SafeTensors::deserialize(&file).unwrap().tensor("router.weight").unwrap().data().to_vec();
    let router: Vec<f32> = router.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    let (items, channels) = (npy(&bench, "items", "run"), npy(&bench, "interests", "run"));
    let of = |user: &str| channels.iter().filter(|row| row.id("user") == user).collect::<Vec<&Row>>();
    let parts = |own: &[&Row], item: &Row| -> Vec<f32> {
        gates(&router, &item.vector).iter().zip(own).map(|(gate, one)| gate * dot(&one.vector, &item.vector)).collect()
    };
    assert!(!channels[0].cells.contains_key("weight"));
    for (user, item) in want.keys() {
        let item = items.iter().find(|row| row.id("item") == item).unwrap();
        let (score, want) = (parts(&of(user), item).iter().sum(), want[&(user.clone(), item.id("item").to_string())]);
        assert!(close(score, want), "{score} {want}");
    }

    // Each of the best items comes from the channel that adds most to its score, of those that have a share in it.
    let inspected = bench.ok(&["inspect", "--run", "run", "--user=u7", "-k=20"]);
    assert_eq!(inspected.matches("by the item").count(), 3, "{inspected}");
    let mut sources = vec![];
    for line in inspected.rsplit_once("best items").unwrap().1.lines().skip(1) {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let (source, part): (usize, f32) = (cells[1].parse().unwrap(), cells[3].parse().unwrap());
        let parts = parts(&of("u7"), items.iter().find(|item| item.id("item") == cells[4]).unwrap());
        assert!((parts[source - 1] - part).abs() < 1e-4, "{line}: {parts:?}");
        assert!(part != 0.0 && parts.iter().all(|other| *other <= part + 1e-4 || *other == 0.0), "{line}: {parts:?}");
        sources.push(source);
    }
    assert_eq!(sources.len(), 20);
    assert!(sources.iter().any(|source| *source != sources[0]), "one channel has all: {sources:?}");
}

#[test]
fn the_formats_hold_the_same() {
    let bench = Bench::new();
    bench.train("pomrec", "run", &["--set=train.epochs=1"]);
    let want = npy(&bench, "interests", "run");
    let printed = bench.ok(&["export", "interests", "--run", "run", "--output=all.safetensors"]);
    assert!(
        printed.ends_with("saved    120 interests, 32 wide: all.safetensors; their ids: all.ids.tsv\n"),
        "{printed}"
    );
    let bytes = fs::read(bench.path("all.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    assert_eq!(names, ["centre", "dispersion", "vector"]);
    let values = |name: &str| -> Vec<f32> {
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.shape(), [120, 32]);
        tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let vectors = values("vector");
    assert_eq!(vectors, want.iter().flat_map(|row| row.vector.clone()).collect::<Vec<_>>());
    assert_eq!(ids(&bench.path("all.ids.tsv")), want.iter().map(|row| row.cells.clone()).collect::<Vec<_>>());
    // Equation 6 with the default lambda of 4.
    for (at, (centre, deviation)) in values("centre").iter().zip(values("dispersion")).enumerate() {
        assert!(close(centre + 4.0 * deviation, vectors[at]) && deviation >= 0.0);
    }
    bench.ok(&["export", "interests", "--run", "run", "--output=all.parquet"]);
    assert!(!bench.path("all.parquet.ids.tsv").exists());
    let file = SerializedFileReader::new(fs::File::open(bench.path("all.parquet")).unwrap()).unwrap();
    for (row, want) in file.get_row_iter(None).unwrap().zip(&want) {
        let row: HashMap<String, Field> = row.unwrap().into_columns().into_iter().collect();
        assert_eq!(row["user"], Field::Str(want.id("user").to_string()));
        assert_eq!(row["interest"], Field::Int(want.number("interest") as i32));
        assert_eq!(row["weight"], Field::Float(want.number("weight")));
        let Field::ListInternal(vector) = &row["vector"] else { panic!("{row:?}") };
        assert!(vector.elements().iter().eq(want.vector.iter().map(|&x| Field::Float(x)).collect::<Vec<_>>().iter()));
    }
    assert_eq!(file.metadata().file_metadata().num_rows(), 120);
}

/// Without prompts, a centre is the sum of the embedded events by their attention.
#[test]
fn attention_belongs_to_the_events() {
    let bench = Bench::new();
    for (variant, from_the_end) in [("paper", false), ("released", true)] {
        let variant_is = format!("--set=model.variant={variant}");
        // Windows that are longer than the histories: padded on the left, or on the right.
        bench.train("pomrec", variant, &[&variant_is, "--set=model.prompts=0", "--set=data.max_len=14"]);
        let mut folder = RunFolder::open(&bench.path(variant)).unwrap();
        let data = bench.path("data.csv");
        let (session, store, _) =
            Session::of_run(&mut folder, None, |config| config.data.path = Some(data.clone())).unwrap();
        let bytes = bench.model(variant);
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let table = |name: &str| -> Vec<f32> {
            let data = tensors.tensor(name).unwrap().data().to_vec();
            data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let (items, positions) = (table("item_embedding"), table("position_embedding"));
        for shown in session.shown(&store, &[7, 3, 59]).unwrap() {
            let history = session.data.history(shown.user);
            assert_eq!(shown.items, history);
            let n = history.len();
            for interest in &shown.interests {
                let attention = interest.attention.as_ref().unwrap();
                assert!((attention.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{attention:?}");
                for c in 0..32 {
                    let event = |at: usize| {
                        let position = if from_the_end { n - at } else { 14 - n + at };
                        items[history[at] as usize * 32 + c] + positions[position * 32 + c]
                    };
                    let sum: f32 = (0..n).map(|at| attention[at] * event(at)).sum();
                    assert!((sum - interest.centre[c]).abs() < 1e-5, "{sum} {}", interest.centre[c]);
                }
            }
        }
    }
}

#[test]
fn a_user_is_inspected() {
    let bench = Bench::new();
    bench.train("pomrec", "run", &[]);
    let (items, interests) = (npy(&bench, "items", "run"), npy(&bench, "interests", "run"));
    let own: Vec<&Row> = interests.iter().filter(|row| row.id("user") == "u7").collect();
    let plain = bench.ok(&["inspect", "--run", "run", "--user=u7", "-k=5"]);
    assert!(plain.contains("user     u7: 10 events, the last 6 of which the model reads\n"), "{plain}");
    let missing = "no file next to the data describes its items; ids are shown";
    assert_eq!(plain.matches(missing).count(), 1, "{plain}");
    assert!(!plain.contains('\u{1b}'), "{plain}");

    // The best items, their scores and the interests that they come from, as the exported vectors have them.
    bench.ok(&["recommend", "--run", "run", "-k=5", "--output=best.csv"]);
    let text = fs::read_to_string(bench.path("best.csv")).unwrap();
    let best: Vec<Vec<&str>> =
        text.lines().map(|line| line.split(',').collect()).filter(|row: &Vec<&str>| row[0] == "u7").collect();
    let shown = plain.rsplit_once("best items").unwrap().1;
    for (line, row) in shown.lines().skip(1).zip(&best) {
        let item = items.iter().find(|item| item.id("item") == row[1]).unwrap();
        let parts: Vec<f32> = own.iter().map(|one| one.number("weight") * dot(&one.vector, &item.vector)).collect();
        let k = (parts[1] > parts[0]) as usize;
        let cells: Vec<&str> = line.split_whitespace().collect();
        let (score, part): (f32, f32) = (cells[2].parse().unwrap(), cells[3].parse().unwrap());
        assert_eq!((cells[0], cells[1], cells[4]), (row[2], &(k + 1).to_string()[..], row[1]), "{line}");
        assert!((score - row[3].parse::<f32>().unwrap()).abs() < 1e-4 && (part - parts[k]).abs() < 1e-3, "{line}");
    }
    assert_eq!(best.len(), 5);

    // With titles and genres, in colours.
    fs::write(bench.path("items.csv"), format!("id,title,genres\n{}\n", TITLED.join("\n"))).unwrap();
    let data = fs::read_to_string(bench.path("data.csv")).unwrap();
    // A user who has none of these in the events before the window, where they would be neither shown nor recommended.
    let events = |user: &String| -> Vec<&str> {
        let own = data.lines().filter(|line| line.starts_with(&format!("{user},")));
        own.map(|line| line.split(',').nth(1).unwrap()).collect()
    };
    let shows_all = |user: &String| ["i1", "i2", "i3", "i4"].iter().all(|item| !events(user)[..4].contains(item));
    let user = &(0..60).map(|user| format!("u{user}")).find(shows_all).unwrap();
    let args = ["inspect", "--run", "run", "--user", user, "--svg=user.svg", "--png=user.png", "-k=40"];
    let coloured = bench.command(&args).env("CLICOLOR_FORCE", "1").output().unwrap();
    let coloured = String::from_utf8(coloured.stdout).unwrap();
    for part in ["items.csv\n", "Alien & Aliens", "Horror, Sci-Fi", "<b>\u{c9}toile</b>", "\u{1b}[34m", "Heat[31m"] {
        assert!(coloured.contains(part), "no {part:?} in {coloured}");
    }
    let (plain, quiet) = (bench.ok(&args), bench.command(&args).env("NO_COLOR", "1").output().unwrap());
    assert_eq!(plain.as_bytes(), quiet.stdout);
    assert!(!plain.contains('\u{1b}') && plain.contains("Drama"));
    let svg = fs::read_to_string(bench.path("user.svg")).unwrap();
    for part in ["&lt;b&gt;\u{c9}toile", "#0072B2", "history, oldest first"] {
        assert!(svg.contains(part), "no {part:?} in the picture");
    }
    assert!(fs::read(bench.path("user.png")).unwrap().starts_with(b"\x89PNG\r\n"));
}

/// The interest of each event, from 1, and the best items with theirs, after the events of a file.
fn after(bench: &Bench, run: &str, lines: &[String]) -> (Vec<usize>, Vec<(usize, String)>) {
    let path = bench.path("after.csv");
    fs::write(&path, format!("user,item,rating,timestamp\n{}\n", lines.join("\n"))).unwrap();
    let file = HistoryFile { path, format: None, columns: Some(Columns::default()), skip_bad: SkipBad::NONE };
    let mut folder = RunFolder::open(&bench.path(run)).unwrap();
    let (session, store, histories) = Session::to_recommend(&mut folder, None, Some(file), |_| {}).unwrap();
    let users = histories.unwrap().users;
    let best = session.recommend(&store, &users, 5, true).unwrap().remove(0);
    let (shown, items) = (session.shown(&store, &users).unwrap().remove(0), session.item_vectors(&store).unwrap());
    let history = shown.items.iter().enumerate().map(|(at, &item)| shown.strongest(at, items.of(item)) + 1).collect();
    let from = |(number, (item, _)): (usize, (u32, f32))| {
        (shown.source(number, items.of(item)) + 1, session.data.item_name(item).to_string())
    };
    (history, best.into_iter().enumerate().map(from).collect())
}

/// Rows of cells under the line that has `head`, until an empty one.
fn cells<'a>(printed: &'a str, head: &str) -> Vec<Vec<&'a str>> {
    let under = printed.lines().skip_while(|line| !line.contains(head)).skip(1);
    under.take_while(|line| !line.is_empty()).map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a_history_is_continued() {
    let bench = Bench::new();
    // u7 has 7 events, and one more makes log2 of their number 3.
    let data = fs::read_to_string(bench.path("data.csv")).unwrap();
    let of = |user: &str| -> Vec<String> {
        data.lines().filter(|line| line.starts_with(&format!("{user},"))).map(str::to_string).collect()
    };
    let gone = &of("u7")[7..];
    let kept: String =
        data.lines().filter(|line| !gone.contains(&line.to_string())).map(|line| format!("{line}\n")).collect();
    fs::write(bench.path("data.csv"), kept).unwrap();
    bench.train("mind", "numbered", &["--set=model.interests=4", "--set=data.max_len=20"]);
    bench.train("pomrec", "same", &[]);
    for (run, user, events, read) in [("numbered", "u7", 7, 7), ("same", "u3", 10, 6)] {
        let own = &of(user)[..events];
        let item = |line: &String| line.split(',').nth(1).unwrap().to_string();
        let new = (0..40).map(|item| format!("i{item}")).filter(|new| own.iter().all(|line| item(line) != *new));
        let then: Vec<String> = new.take(2).collect();
        let args = ["inspect", "--run", run, "--user", user, "-k=5", "--then", &then[0], "--then", &then[1]];
        let printed = bench.ok(&args);
        assert!(printed.contains(&format!("then 2: with one more event, of {}\n", then[1])), "{printed}");
        assert_eq!(printed.contains("interests after it"), run == "numbered", "{printed}");

        // What the program says of a file with these events.
        let longer = |item: &String| [own, &[format!("{user},{item},3,2000000000")]].concat();
        let all = [own.to_vec(), longer(&then[0]), longer(&then[1])].map(|lines| after(&bench, run, &lines));
        // The events that are read, then the added ones, which only their own column has.
        let read = (events - read..events).map(|at| (at, None, item(&own[at])));
        let added = then.iter().enumerate().map(|(added, item)| (events, Some(added + 1), item.clone()));
        let mut expected: Vec<Vec<String>> = vec![];
        for (at, then, item) in read.chain(added) {
            let mut row = vec![(at + 1).to_string()];
            row.extend((run == "numbered").then(|| (at + 1).ilog2().max(1).to_string()));
            row.extend(then.into_iter().flat_map(|column| ["then".to_string(), format!("{column}:")]));
            row.push(item);
            for (column, (interests, _)) in all.iter().enumerate() {
                let first = events + (column > 0) as usize - interests.len();
                let reads = then.map_or(at >= first, |own| own == column);
                row.extend(reads.then(|| interests[at - first].to_string()));
            }
            expected.push(row);
        }
        assert_eq!(cells(&printed, "history, oldest first"), expected, "{printed}");
        let best: Vec<Vec<String>> = (0..5)
            .map(|rank| {
                let each = all.iter().flat_map(|(_, best)| [best[rank].0.to_string(), best[rank].1.clone()]);
                [(rank + 1).to_string()].into_iter().chain(each).collect()
            })
            .collect();
        assert_eq!(cells(&printed, "best items as it is"), best, "{printed}");
    }

    // By title, in colours and as pictures; a title of two, and what is not there.
    let titled = [&TITLED[..], &["i5,Twice,Drama", "i6,Twice,Drama"]].concat();
    fs::write(bench.path("items.csv"), format!("id,title,genres\n{}\n", titled.join("\n"))).unwrap();
    let with = |then: &'static str| ["inspect", "--run=numbered", "--user=u7", "--then", then];
    let args = [&with("Alien & Aliens")[..], &["--then=Heat[31m", "--svg=then.svg", "--png=then.png"]].concat();
    let coloured = bench.command(&args).env("CLICOLOR_FORCE", "1").output().unwrap();
    let coloured = String::from_utf8(coloured.stdout).unwrap();
    for part in ["then 1: with one more event, of Alien & Aliens\n", "then 2: Heat[31m", "\u{1b}[34m 1"] {
        assert!(coloured.contains(part), "no {part:?} in {coloured}");
    }
    let svg = fs::read_to_string(bench.path("then.svg")).unwrap();
    for part in ["then 1: Alien &amp; Aliens", "as it is", "number of interests after it", "#0072B2"] {
        assert!(svg.contains(part), "no {part:?} in the picture");
    }
    assert!(fs::read(bench.path("then.png")).unwrap().starts_with(b"\x89PNG\r\n"));
    for (then, part) in [
        ("i77", "no item \"i77\" in this data set; the nearest is \"i7"),
        ("Alien and Aliens", "the nearest is \"Alien & Aliens\""),
        ("Twice", "\"Twice\" is the title of 2 items; expected an id: one of i"),
    ] {
        let error = bench.refuses(&with(then));
        assert!(error.contains(part), "{error}");
    }
}

fn points(bench: &Bench, args: &[&str]) -> (String, Vec<Vec<String>>) {
    let printed = bench.ok(&[&["plot", "interests", "--run", "run", "--points=points.csv"], args].concat());
    let text = fs::read_to_string(bench.path("points.csv")).unwrap();
    (printed, text.lines().skip(1).map(|line| line.split(',').map(String::from).collect()).collect())
}

#[test]
fn interests_are_plotted() {
    let bench = Bench::new();
    bench.train("pomrec", "run", &[]);
    fs::write(bench.path("items.csv"), format!("id,title,genres\n{}\n", TITLED.join("\n"))).unwrap();
    let (printed, rows) = points(&bench, &["--users=u7,u3,u7", "--output=map.png"]);
    let data = fs::read_to_string(bench.path("data.csv")).unwrap();
    let mut items: Vec<&str> = vec![];
    for user in ["u7,", "u3,"] {
        let own: Vec<&str> = data.lines().filter(|line| line.starts_with(user)).collect();
        items.extend(own[own.len() - 6..].iter().map(|line| line.split(',').nth(1).unwrap()));
    }
    items.sort_unstable();
    items.dedup();
    let mut shown: Vec<&str> = rows.iter().map(|row| &row[2][..]).filter(|item| !item.is_empty()).collect();
    shown.sort_unstable();
    assert_eq!(shown, items);
    let centres: Vec<(&str, &str)> = rows[items.len()..].iter().map(|row| (&row[0][..], &row[1][..])).collect();
    assert_eq!(centres, [("u7", "1"), ("u7", "2"), ("u3", "1"), ("u3", "2")]);
    assert!(printed.contains(&format!("map      {} items and 4 centres\n", items.len())), "{printed}");
    assert!(fs::read(bench.path("map.png")).unwrap().starts_with(b"\x89PNG\r\n"));

    // Chosen by rule, and the same with any number of threads.
    let (printed, chosen) = points(&bench, &["--min-events=10"]);
    assert!(printed.contains("of 60 users with at least 10 events") && printed.contains("farthest"), "{printed}");
    let first = fs::read(bench.path("interests.svg")).unwrap();
    let args = ["plot", "interests", "--run", "run", "--min-events=10", "--points=points.csv"];
    let one_thread = bench.command(&args).env("RAYON_NUM_THREADS", "1").output().unwrap();
    assert!(one_thread.status.success());
    assert_eq!(points(&bench, &["--min-events=10"]).1, chosen);
    assert_eq!(fs::read(bench.path("interests.svg")).unwrap(), first);

    // The rule, by the exported centres.
    bench.ok(&["export", "interests", "--run", "run", "--output=all.safetensors"]);
    let bytes = fs::read(bench.path("all.safetensors")).unwrap();
    let centres = SafeTensors::deserialize(&bytes).unwrap().tensor("centre").unwrap().data().to_vec();
    let centres: Vec<f32> = centres.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let apart =
        |pair: &[f32]| pair[..32].iter().zip(&pair[32..]).map(|(a, b)| (a - b).powi(2) as f64).sum::<f64>().sqrt();
    let mut spread: Vec<f64> = centres.chunks(64).map(apart).collect();
    let mut folder = RunFolder::open(&bench.path("run")).unwrap();
    let data = bench.path("data.csv");
    let (session, store, _) =
        Session::of_run(&mut folder, None, |config| config.data.path = Some(data.clone())).unwrap();
    let pick = Pick::new(&session, &store, 10).unwrap();
    for (_, user, distance) in pick.users {
        assert!((spread[user as usize] - distance).abs() < 1e-5);
    }
    spread.sort_by(f64::total_cmp);
    let want = [("farthest", spread[59]), ("median", spread[30]), ("nearest", spread[0])];
    for ((how, _, distance), (expected, value)) in pick.users.into_iter().zip(want) {
        assert_eq!(how, expected);
        assert!((distance - value).abs() < 1e-5, "{how}: {distance} {value}");
    }
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let bench = Bench::new();
    bench.train("pomrec", "run", &["--set=train.epochs=1"]);
    bench.train("sasrec", "sasrec", &[&fitting("sasrec", &[])[..], &["--set=train.epochs=1"]].concat());
    let before = fs::read_dir(bench.folder.path()).unwrap().count();
    for (args, part) in [
        (&["inspect", "--run=run", "--user=u77"][..], "no user \"u77\" in this data set; the nearest id is \"u7"),
        (&["inspect", "--run=run", "--user=u7", "-k=0"], "-k: found 0"),
        (&["inspect", "--run=sasrec", "--user=u7"], "model.name: found sasrec, which represents a user by one vector"),
        (&["inspect", "--run=run", "--user=u7", "--svg=data.csv"], "data.csv: it is read"),
        (&["export", "interests", "--run=sasrec", "--output=x.npy"], "model.name: found sasrec"),
        (&["export", "users", "--run=run", "--output=x.csv"], "--output x.csv: expected a name that ends in .parquet"),
        (&["export", "users", "--run=run", "--output=x"], "expected a name that ends in"),
        (&["export", "users", "--run=run", "--output=run/model.safetensors"], "the run keeps it"),
        (&["export", "users", "--run=nowhere", "--output=x.npy"], "nowhere: no run is here"),
        (&["plot", "interests", "--run=sasrec"], "model.name: found sasrec"),
        (&["plot", "interests", "--run=sasrec", "--users=u7"], "model.name: found sasrec"),
        (&["plot", "interests", "--run=run", "--users=u7,x"], "no user \"x\""),
        (
            &["plot", "interests", "--run=run", "--users=u1,u2,u3,u4,u5,u6,u7"],
            "--users: found 7 users; expected at most 6",
        ),
        (&["plot", "interests", "--run=run", "--output=x.pdf"], "x.pdf: expected a name that ends in .svg or .png"),
        (&["plot", "interests", "--run=run"], "0 users have at least 50 events"),
    ] {
        let error = bench.refuses(args);
        assert!(error.contains(part), "{args:?}: {error}");
    }

    // Data that have changed, or are gone.
    let data = fs::read_to_string(bench.path("data.csv")).unwrap();
    let without: String =
        data.lines().filter(|line| !line.starts_with("u3,")).map(|line| format!("{line}\n")).collect();
    let commands = [
        &["inspect", "--run=run", "--user=u7"][..],
        &["export", "items", "--run=run", "--output=x.npy"],
        &["plot", "interests", "--run=run", "--users=u7"],
    ];
    fs::write(bench.path("data.csv"), &without).unwrap();
    for args in commands {
        let error = bench.refuses(args);
        assert!(error.contains("other data"), "{error}");
    }
    fs::rename(bench.path("data.csv"), bench.path("moved.csv")).unwrap();
    for args in commands {
        let error = bench.refuses(args);
        assert!(error.contains("data.path is data.csv") && error.contains("--data"), "{error}");
    }
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), before, "files were left");

    // A user of the training whom the data that are read have no more.
    let file = HistoryFile {
        path: bench.path("moved.csv"),
        format: None,
        columns: Some(Columns::default()),
        skip_bad: SkipBad::NONE,
    };
    let mut folder = RunFolder::open(&bench.path("run")).unwrap();
    let (session, store, _) = Session::to_recommend(&mut folder, None, Some(file), |_| {}).unwrap();
    let user = session.data.users_named(&["u3"]).unwrap();
    let error = session.shown(&store, &user).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("user \"u3\" has no history"), "{error}");
}
