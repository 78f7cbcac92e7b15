//! Lists for people whom a training did not see, and from data that have grown since.

mod program;

use program::{Bench, fitting};
use std::collections::BTreeMap;
use std::fs;

const HEAD: &str = "user,item,behavior,timestamp\n";
const USERS: u32 = 40;
const ITEMS: u32 = 24;

/// The lines of a file of events: users click through the items in a circle, and cart and buy some of what they clicked.
fn events() -> Vec<String> {
    let mut state = 7u32;
    let mut draw = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % n
    };
    let mut at: Vec<u32> = (0..USERS).map(|user| user * 5 % ITEMS).collect();
    let mut lines = vec![];
    for step in 0..16 {
        for user in 0..USERS {
            let item = &mut at[user as usize];
            *item = (*item + 1 + draw(3)) % ITEMS;
            for behaviour in ["click", "cart", "buy"].into_iter().take(1 + draw(3) as usize) {
                // Steps of equal times: what comes first there is for data.ties to say.
                lines.push(format!("u{user},i{item},{behaviour},{}\n", 1_600_000_000 + 60 * (step / 2)));
            }
        }
    }
    lines
}

fn user(line: &str) -> &str {
    line.split(',').next().unwrap()
}

/// The events of some users.
fn of(users: &[&str]) -> String {
    events().into_iter().filter(|line| users.contains(&user(line))).collect()
}

/// A folder with the events, and with attributes of the users.
fn bench() -> Bench {
    let bench = Bench::new();
    write(&bench, "data.csv", &(HEAD.to_string() + &events().concat()));
    bench
}

fn write(bench: &Bench, name: &str, text: &str) {
    fs::write(bench.path(name), text).unwrap();
}

const QUICK: [&str; 4] =
    ["--set=train.epochs=1", "--set=model.prompt.tokens=2", "--set=model.prompt.factors=2", "--set=model.ridge=5"];

/// The lists of a run, by user: lines of item, rank and score; and what the program printed.
fn lists(bench: &Bench, run: &str, more: &[&str]) -> (BTreeMap<String, Vec<String>>, String) {
    let k: &[&str] = if more.iter().any(|arg| arg.starts_with("-k")) { &[] } else { &["-k=6"] };
    let printed = bench.ok(&[&["recommend", "--run", run, "--output=recs.csv"], k, more].concat());
    let mut lists = BTreeMap::<String, Vec<String>>::new();
    for line in fs::read_to_string(bench.path("recs.csv")).unwrap().lines().skip(1) {
        let (user, row) = line.split_once(',').unwrap();
        lists.entry(user.to_string()).or_default().push(row.to_string());
    }
    (lists, printed)
}

const BUY: &str = "--set=data.target=buy";
const BEHAVIOURS: &str = "--set=model.behaviours=true";

#[test]
fn a_history_gives_the_lists_of_a_known_user() {
    let bench = bench();
    let attributes: String = (0..USERS).map(|user| format!("u{user},{},{}\n", user % 5, user % 2)).collect();
    let known = ["u3", "u17", "u30"];
    write(&bench, "users.txt", "u3\nu17\nu30\n");
    write(&bench, "history.csv", &(HEAD.to_string() + &of(&known)));
    for (run, model, more) in [
        ("pop", "pop", &[][..]),
        ("ease", "ease", &[]),
        ("pomrec", "pomrec", &[]),
        ("comirec", "comirec", &[]),
        ("mind", "mind", &[]),
        ("miner", "miner", &[]),
        ("timirec", "timirec", &[]),
        ("mcprn", "mcprn", &[]),
        ("sasrec", "sasrec", &["--set=data.ties=random"]),
        ("gru4rec", "gru4rec", &["--set=data.dedup=pair"]),
        ("bert4rec", "bert4rec", &["--set=data.min_item=50"]),
        ("fmlp", "fmlp", &["--set=data.behaviours=[\"click\", \"buy\"]"]),
        ("stamp", "stamp", &[]),
        ("caser", "caser", &[]),
        ("npe", "npe", &[]),
        ("sasrec-b", "sasrec", &[BUY, BEHAVIOURS]),
        ("gru4rec-b", "gru4rec", &[BUY, BEHAVIOURS]),
        ("bert4rec-b", "bert4rec", &[BUY, BEHAVIOURS]),
        ("fmlp-b", "fmlp", &[BUY, BEHAVIOURS]),
        ("sasrec-2", "sasrec", &["--set=model.pretext.task=mask", BEHAVIOURS]),
        ("dpcpl-1", "dpcpl", &[BUY, "--set=phases=[\"pretrain\"]"]),
        ("dpcpl-2", "dpcpl", &[BUY]),
        ("dpcpl-a", "dpcpl", &[BUY]),
    ] {
        if run == "dpcpl-a" {
            write(&bench, "users.csv", &("user,age,gender\n".to_string() + &attributes));
        }
        bench.train(model, run, &[&fitting(model, &QUICK), more].concat());
        let (want, _) = lists(&bench, run, &["--users=users.txt"]);
        let (got, printed) = lists(&bench, run, &["--history=history.csv"]);
        assert_eq!(got.keys().collect::<Vec<_>>(), ["u17", "u3", "u30"]);
        assert_eq!(got, want, "{run}");
        assert!(printed.starts_with("history  history.csv: 3 users (0 of them new to the run), "), "{printed}");
        // The same person under a name that the training does not know, without attributes.
        write(&bench, "new.csv", &(HEAD.to_string() + &of(&["u3"]).replace("u3,", "someone,")));
        let (new, printed) = lists(&bench, run, &["--history=new.csv"]);
        match run {
            "dpcpl-a" => assert_ne!(new["someone"], want["u3"], "nothing is known of someone's age"),
            // Whose ties fall another way.
            "sasrec" => {}
            _ => assert_eq!(new["someone"], want["u3"], "{run}"),
        }
        assert!(printed.contains("1 user (1 of them new to the run)"), "{printed}");
    }
}

#[test]
fn histories_of_any_format_and_of_unknown_items() {
    let bench = bench();
    bench.train("sasrec", "run", &fitting("sasrec", &QUICK));
    let ids = |items: &[&str]| items.iter().map(|item| format!(" {item}")).collect::<String>();
    let items = ["i3", "i4", "i6", "i7"];
    write(&bench, "lines.txt", &format!("ann{}\nben{}\n", ids(&items), ids(&items[1..])));
    let (want, printed) = lists(&bench, "run", &["--history=lines.txt", "--format=sequences"]);
    assert!(printed.starts_with("history  lines.txt: 2 users (2 of them new to the run), 7 events\n"), "{printed}");
    assert!(items.iter().all(|item| !want["ann"].iter().any(|row| row.starts_with(&format!("{item},")))));
    // The same events in another format, with columns that must be named, among items and users that are left out.
    let mut text = "who;what;when\n".to_string();
    for (time, item) in items.iter().enumerate() {
        text += &format!("ann;{item};{time}\nann;new{time};{time}\n");
    }
    write(&bench, "events.csv", &(text + "carl;new1;9\n"));
    let columns = ["--user-column=who", "--item-column=what", "--time-column=when", "--delimiter=;"];
    let (got, printed) = lists(&bench, "run", &[&["--history=events.csv"], &columns[..]].concat());
    assert_eq!((got.len(), &got["ann"]), (1, &want["ann"]));
    let told = "1 user (1 of them new to the run), 4 events; 5 events of 4 items that the run does not know left out; 1 user \
                without any other left out";
    assert!(printed.contains(told), "{printed}");
    // Some of its users, and those without a history are counted.
    write(&bench, "users.txt", "carl\nann\n");
    let some = ["--history=events.csv", "--users=users.txt"];
    let (got, printed) = lists(&bench, "run", &[&some[..], &columns].concat());
    assert!(got.len() == 1 && printed.contains("1 of the users asked for left out"), "{printed}");
    write(&bench, "users.txt", "carl\n");
    let args = |more: &[&'static str]| [&["recommend", "--run=run", "--output=no.csv"], more].concat();
    let error = bench.refuses(&[&args(&some)[..], &columns].concat());
    assert!(error.contains("none of the users asked for has an event of an item that the run knows"), "{error}");
    // What has been seen can come again.
    let (all, _) = lists(&bench, "run", &["--history=lines.txt", "--format=sequences", "--unmasked", "-k=24"]);
    assert!(items.iter().all(|item| all["ann"].iter().any(|row| row.starts_with(&format!("{item},")))));
    // The run's data are not needed.
    fs::rename(bench.path("data.csv"), bench.path("gone.csv")).unwrap();
    assert_eq!(lists(&bench, "run", &["--history=lines.txt", "--format=sequences"]).0, want);

    write(&bench, "nothing.txt", "ann new1 new2\n");
    let error = bench.refuses(&args(&["--history=nothing.txt", "--format=sequences"]));
    assert!(error.contains("nothing.txt: found 2 events of 2 items that the run does not know"), "{error}");
    let error = bench.refuses(&args(&["--history=events.csv", "--user-column=whom"]));
    assert!(error.contains("\"whom\""), "{error}");
    assert!(bench.refuses(&args(&["--user-column=who"])).contains("say how --history is read, which is not given"));
    let over = ["recommend", "--run=run", "--history=events.csv", "--output=events.csv"];
    let error = bench.refuses(&[&over[..], &columns].concat());
    assert!(error.contains("it is read"), "{error}");
    assert!(!bench.path("no.csv").exists());
}

#[test]
fn a_history_without_behaviours_is_refused_where_they_are_read() {
    let bench = bench();
    bench.train("sasrec", "run", &[&fitting("sasrec", &QUICK)[..], &[BUY]].concat());
    write(&bench, "lines.txt", "ann i1 i2\n");
    let error =
        bench.refuses(&["recommend", "--run=run", "--history=lines.txt", "--format=sequences", "--output=no.csv"]);
    assert!(
        error.contains("lines.txt: found no behaviours; expected the behaviour of each event (click, cart, buy)"),
        "{error}"
    );
    // A model and a split that know nothing of behaviours do not ask for them.
    bench.train("sasrec", "plain", &fitting("sasrec", &QUICK));
    lists(&bench, "plain", &["--history=lines.txt", "--format=sequences"]);
    // Nor does a run forget their names.
    write(
        &bench,
        "other.csv",
        &(HEAD.to_string() + "ann,i2,buy,1600000000\nann,i3,view,1600000001\nann,i1,click,1600000002\n"),
    );
    let (_, printed) = lists(&bench, "run", &["--history=other.csv"]);
    assert!(printed.contains("behaviours other than click, cart, buy: 1 interactions dropped"), "{printed}");
}

/// New events of known users count, new users have lists, new items are left out; ids keep the numbers of the training.
#[test]
fn data_may_have_grown_since() {
    let bench = bench();
    bench.train("sasrec", "run", &fitting("sasrec", &QUICK));
    let (before, printed) = lists(&bench, "run", &[]);
    assert!(printed.starts_with("saved"), "{printed}");
    // New users and items come first, so that their numbers would be other ones.
    let old = events().concat();
    let more = "u3,i1,click,1600009000\nu3,i20,click,1600009060\nu5,fresh,click,1600009000\n";
    write(
        &bench,
        "grown.csv",
        &(HEAD.to_string() + "newcomer,fresh,click,1500000000\nnewcomer,i9,click,1500000060\n" + &old + more),
    );
    let (grown, printed) = lists(&bench, "run", &["--data=grown.csv"]);
    let told = "data     grown.csv: 41 users (1 of them new to the run), ";
    assert!(printed.starts_with(told) && printed.contains("no longer what the run was trained on"), "{printed}");
    assert!(printed.contains("2 events of 1 item that the run does not know left out"), "{printed}");
    for (user, list) in &grown {
        match user.as_str() {
            "newcomer" => assert_eq!(list.len(), 6),
            "u3" => assert_ne!(list, &before[user]),
            _ => assert_eq!(list, &before[user], "{user}"),
        }
    }
    write(
        &bench,
        "u3.csv",
        &(HEAD.to_string() + &of(&["u3"]) + &more.lines().take(2).collect::<Vec<_>>().join("\n") + "\n"),
    );
    assert_eq!(lists(&bench, "run", &["--history=u3.csv"]).0["u3"], grown["u3"]);
    // In the same place; what is ranked is still only what the run was trained on.
    fs::copy(bench.path("grown.csv"), bench.path("data.csv")).unwrap();
    assert_eq!(lists(&bench, "run", &[]).0, grown);
    assert!(bench.refuses(&["eval", "--run=run"]).contains("trained on another data set"));
    // Another data set altogether has no item of the run.
    write(&bench, "other.csv", &(HEAD.to_string() + &old.replace(",i", ",other")));
    let error = bench.refuses(&["recommend", "--run=run", "--data=other.csv", "--output=no.csv"]);
    assert!(error.contains("events of 24 items that the run does not know"), "{error}");
}

/// Categories of attributes come from all users of the training: without its data they cannot be known.
#[test]
fn attributes_need_the_data_of_the_training() {
    let bench = bench();
    let attributes: String = (0..USERS).map(|user| format!("u{user},{},{}\n", user % 5, user % 2)).collect();
    write(&bench, "users.csv", &("user,age,gender\n".to_string() + &attributes));
    bench.train("dpcpl", "run", &[&fitting("dpcpl", &QUICK)[..], &[BUY]].concat());
    let grown = HEAD.to_string() + &events().concat() + "u3,i1,click,1600009000\n";
    fs::create_dir(bench.path("new")).unwrap();
    write(&bench, "new/data.csv", &grown);
    write(&bench, "new/users.csv", &("user,age,gender\n".to_string() + &attributes));
    let error = bench.refuses(&["recommend", "--run=run", "--data=new/data.csv", "--output=no.csv"]);
    assert!(error.contains("the run reads attributes of users") && error.contains("--history"), "{error}");
    lists(&bench, "run", &["--history=new/data.csv"]);
    fs::rename(bench.path("data.csv"), bench.path("moved.csv")).unwrap();
    let error = bench.refuses(&["recommend", "--run=run", "--history=new/data.csv", "--output=no.csv"]);
    assert!(error.contains("the run reads attributes of users"), "{error}");
    lists(&bench, "run", &["--history=new/data.csv", "--data=moved.csv"]);
}
