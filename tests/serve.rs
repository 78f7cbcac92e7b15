//! `wgrec serve`, over the wire.

mod program;

use program::{Bench, fitting};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A server of a run, on a port of its own.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(bench: &Bench, run: &str, more: &[&str]) -> Server {
        let args = [&["serve", "--run", run, "--listen=127.0.0.1:0", "--poll=0.1"], more].concat();
        let mut child = bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let at = lines.map_while(Result::ok).find_map(|line| Some(line.strip_prefix("at       http://")?.to_string()));
        Server { child, address: at.expect("the server says where it is").trim_end_matches('/').to_string() }
    }

    /// Status, head and body of the answer.
    fn raw(&self, request: &[u8]) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Who is refused early may find the connection closed.
        let _ = stream.write_all(request);
        let mut answer = vec![];
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, head.to_lowercase(), body.to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (status, _, body) = self.raw(&[head.as_bytes(), body].concat());
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask("POST", path, body.to_string().as_bytes())
    }

    /// Items and scores of an answer that must be one.
    fn list(&self, request: &Value) -> Vec<(String, f32)> {
        let (status, answer) = self.post("/recommend", request);
        assert_eq!(status, 200, "{request}: {answer}");
        listed(&answer)
    }

    /// Waits until the process ends, and returns its exit code.
    #[cfg(unix)]
    fn ended(&mut self, within: Duration) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < within {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server has not ended within {within:?}");
    }

    #[cfg(unix)]
    fn terminate(&self) {
        let sent = std::process::Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listed(answer: &Value) -> Vec<(String, f32)> {
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| (item["item"].as_str().unwrap().to_string(), item["score"].as_f64().unwrap() as f32)).collect()
}

/// What `wgrec recommend` gives each user.
fn lists(bench: &Bench, run: &str, more: &[&str]) -> BTreeMap<String, Vec<(String, f32)>> {
    bench.ok(&[&["recommend", "--run", run, "--output=recs.csv"], more].concat());
    let mut lists = BTreeMap::<String, Vec<(String, f32)>>::new();
    for line in fs::read_to_string(bench.path("recs.csv")).unwrap().lines().skip(1) {
        let [user, item, _, score] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        lists.entry(user.to_string()).or_default().push((item.to_string(), score.parse().unwrap()));
    }
    lists
}

/// The same items, with scores that differ by rounding alone: products of other shapes may sum in another order.
fn assert_same(got: &[(String, f32)], want: &[(String, f32)], about: &str) {
    let items = |list: &[(String, f32)]| list.iter().map(|(item, _)| item.clone()).collect::<Vec<_>>();
    assert_eq!(items(got), items(want), "{about}");
    for ((item, got), (_, want)) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{about}, {item}: {got} and {want}");
    }
}

/// A user's items, and the behaviour of each event.
type History = (Vec<String>, Vec<String>);

/// A folder with events of three behaviours, and the events of each user.
fn behaved() -> (Bench, BTreeMap<String, History>) {
    let bench = Bench::new();
    let mut state = 7u32;
    let mut draw = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % n
    };
    let (mut text, mut histories) = ("user,item,behavior,timestamp\n".to_string(), BTreeMap::new());
    for user in 0..40 {
        let mut item = user * 5 % 24;
        let own: &mut History = histories.entry(format!("u{user}")).or_default();
        let mut time = 1_600_000_000;
        for _ in 0..14 {
            item = (item + 1 + draw(3)) % 24;
            for behaviour in ["click", "cart", "buy"].into_iter().take(1 + draw(3) as usize) {
                time += 60;
                text += &format!("u{user},i{item},{behaviour},{time}\n");
                own.0.push(format!("i{item}"));
                own.1.push(behaviour.to_string());
            }
        }
    }
    fs::write(bench.path("behaved.csv"), text).unwrap();
    let attributes: String = (0..40).map(|user| format!("u{user},{},{}\n", user % 5, user % 2)).collect();
    fs::write(bench.path("users.csv"), "user,age,gender\n".to_string() + &attributes).unwrap();
    (bench, histories)
}

const QUICK: [&str; 5] = [
    "--data=behaved.csv",
    "--set=train.epochs=1",
    "--set=model.prompt.tokens=2",
    "--set=model.prompt.factors=2",
    "--set=model.ridge=5",
];
const BUY: &str = "--set=data.target=buy";

#[test]
fn answers_are_the_lists_of_recommend() {
    let (bench, histories) = behaved();
    for (run, model, more) in [
        ("pop", "pop", &[][..]),
        ("ease", "ease", &[]),
        ("pomrec", "pomrec", &[]),
        ("sasrec", "sasrec", &[]),
        ("bert4rec-b", "bert4rec", &[BUY, "--set=model.behaviours=true"]),
        ("dpcpl", "dpcpl", &[BUY]),
    ] {
        bench.train(model, run, &[&fitting(model, &QUICK), more].concat());
        let (want, twenty) = (lists(&bench, run, &["-k=6"]), lists(&bench, run, &["-k=20", "--unmasked"]));
        let server = Server::start(&bench, run, &[]);
        let reads = server.ask("GET", "/health", b"").1["behaviours"].as_array().unwrap().len();
        assert_eq!(reads > 0, more.contains(&BUY), "{run}");
        for user in ["u3", "u17", "u30"] {
            assert_same(&server.list(&json!({"user": user, "k": 6})), &want[user], run);
            assert_same(&server.list(&json!({"user": user, "k": 20, "unmasked": true})), &twenty[user], run);
            let (items, behaviours) = &histories[user];
            let behaviours: &[String] = if reads > 0 { behaviours } else { &[] };
            let alone = json!({"history": items, "behaviours": behaviours, "k": 6});
            if run != "dpcpl" {
                assert_same(&server.list(&alone), &want[user], run);
            }
            // A known user with events since then is someone with all of these events.
            let (since, of_since) = (&items[3..9], behaviours.get(3..9).unwrap_or_default());
            let all = [&items[..], since].concat();
            let of_all = [behaviours, of_since].concat();
            let grown = json!({"user": user, "history": since, "behaviours": of_since, "k": 6});
            let whole = json!({"history": all, "behaviours": of_all, "k": 6});
            if run != "dpcpl" {
                assert_same(&server.list(&grown), &server.list(&whole), run);
            }
            let first = server.list(&json!({"history": since, "behaviours": of_since, "k": 6}));
            let excluded = json!({
                "history": since, "behaviours": of_since, "k": 6, "exclude": [first[0].0, "unheard of"],
            });
            let second = server.list(&excluded);
            assert_eq!(second[..5], first[1..], "{run}: the best is left out");
        }
        // Together as one by one: 3, 9 and 70 rows are batches of different sizes.
        for n in [3, 9, 70] {
            let users: Vec<String> = (0..n).map(|at| format!("u{}", at % 40)).collect();
            let all: Vec<Value> = users.iter().map(|user| json!({"user": user, "k": 6})).collect();
            let (status, answer) = server.post("/recommend/batch", &json!({"requests": all}));
            assert_eq!(status, 200, "{answer}");
            for (user, answer) in users.iter().zip(answer["answers"].as_array().unwrap()) {
                assert_same(&listed(answer), &want[user], run);
            }
        }
    }
}

/// EASE reads whole histories, also one that is longer than any in the data.
#[test]
fn long_histories_are_read_whole() {
    let bench = Bench::new();
    bench.train("ease", "run", &fitting("ease", &["--set=model.ridge=5"]));
    let items: Vec<String> = (0..30).map(|n| format!("i{}", n * 7 % 40)).collect();
    let rows: String = items.iter().zip(0..).map(|(item, time)| format!("new,{item},5,{time}\n")).collect();
    fs::write(bench.path("new.csv"), "user,item,rating,timestamp\n".to_string() + &rows).unwrap();
    let want = lists(&bench, "run", &["-k=8", "--history=new.csv"]);
    let server = Server::start(&bench, "run", &[]);
    assert_same(&server.list(&json!({"history": items, "k": 8})), &want["new"], "30 items, where the data have 10");
}

/// A run on the data that a bench has.
fn run(bench: &Bench, name: &str, seed: u32) {
    bench.train(
        "sasrec",
        name,
        &[&fitting("sasrec", &["--set=train.epochs=1"])[..], &[&format!("--seed={seed}")]].concat(),
    );
}

#[test]
fn bad_requests_are_told_why() {
    let bench = Bench::new();
    run(&bench, "run", 1);
    let server = Server::start(&bench, "run", &["--max-k=12", "--max-items=20", "--max-requests=3", "--max-body=2000"]);
    let long: Vec<String> = (0..21).map(|n| format!("i{n}")).collect();
    let wrong = [
        (json!({}), 422, "found neither a user nor a history"),
        (json!({"history": []}), 422, "found neither"),
        (json!({"history": ["x", "y"]}), 422, "the run knows none of its 2 items"),
        (json!({"user": "nobody"}), 404, "\"nobody\" is not in the data of the run"),
        (json!({"history": ["i1"], "k": 0}), 422, "k: found 0; expected 1 to 12"),
        (json!({"history": ["i1"], "k": 13}), 422, "k: found 13; expected 1 to 12"),
        (json!({"history": ["i1"], "k": -1}), 422, "k: invalid value"),
        (json!({"history": ["i1"], "k": 1.5}), 422, "k: invalid type"),
        (json!({"history": "i1"}), 422, "history: invalid type"),
        (json!({"history": ["i1", null]}), 422, "history[1]: invalid type: null, expected a text or a whole number"),
        (json!({"history": ["i1", 1.5]}), 422, "expected a text or a whole number"),
        (json!({"history": [u64::MAX, i64::MIN]}), 422, "the run knows none of its 2 items"),
        (json!({"history": ["i1"], "behaviours": ["click"]}), 422, "the model reads none"),
        (json!({"history": ["i1"], "behaviours": ["a", "b"]}), 422, "found 2 for 1 items"),
        (json!({"history": long}), 422, "history: found 21 items; expected at most 20"),
        (json!({"history": ["i1"], "exclude": long}), 422, "exclude: found 21 items"),
        (json!({"histoy": ["i1"]}), 422, "unknown field `histoy`"),
        (json!([1]), 422, "expected an object at line 1"),
        (json!([null, ["i1"], [], 10, [], false]), 422, "expected an object"),
    ];
    for (body, status, why) in wrong {
        let (got, answer) = server.post("/recommend", &body);
        let error = answer["error"].as_str().unwrap_or_default();
        assert!(got == status && error.contains(why), "{body}: {got} {answer}");
    }
    let three = json!({"requests": [{"history": ["i1"]}, {"history": ["i2"]}, {"history": ["x"]}]});
    let (status, answer) = server.post("/recommend/batch", &three);
    assert!(status == 422 && answer["error"].as_str().unwrap().starts_with("requests[2]: history"), "{answer}");
    for (requests, why) in [(json!([{}]), "requests[0]: found neither"), (json!([["i1"]]), "requests[0]: invalid type")]
    {
        let (status, answer) = server.post("/recommend/batch", &json!({"requests": requests}));
        assert!(status == 422 && answer["error"].as_str().unwrap().starts_with(why), "{answer}");
    }
    for requests in [json!([]), json!([{}, {}, {}, {}])] {
        let (status, answer) = server.post("/recommend/batch", &json!({"requests": requests}));
        assert!(status == 422 && answer["error"].as_str().unwrap().contains("expected 1 to 3"), "{answer}");
    }
    let deep = "[".repeat(1900);
    let padded = format!("{{\"history\": [\"{}\"]}}", "x".repeat(3000));
    for (method, path, body, status) in [
        ("POST", "/recommend", "", 400),
        ("POST", "/recommend", "{", 400),
        ("POST", "/recommend", "{\"history\": [\"i1\"]} more", 400),
        ("POST", "/recommend", "\u{0}\u{1}", 400),
        ("POST", "/recommend", &deep, 422),
        ("POST", "/recommend", &padded, 413),
        ("GET", "/recommend", "", 405),
        ("POST", "/items", "", 405),
        ("GET", "/nowhere", "", 404),
        ("GET", "/items?query=%ff", "", 400),
    ] {
        let (got, answer) = server.ask(method, path, body.as_bytes());
        let said = answer["error"].as_str().is_some_and(|error| !error.is_empty());
        // What is no UTF-8 may be read as another text.
        assert!(got == status && said || (path.ends_with("ff") && got < 500), "{method} {path}: {got} {answer}");
    }
    for request in
        [&b"nonsense\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", b"POST /recommend HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
    {
        let (status, ..) = server.raw(request);
        assert!((400..500).contains(&status), "{status}");
    }
    // Pieces of good requests, cut and joined at random.
    let (good, mut state) = (br#"{"history": ["i1", 7], "k": 5, "exclude": ["i2"], "unmasked": true}"#, 1u32);
    for _ in 0..300 {
        let mut draw = |n: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % n
        };
        let mut body = good.to_vec();
        for _ in 0..1 + draw(4) {
            let at = draw(body.len());
            match draw(3) {
                0 => body.truncate(at + 1),
                1 => body[at] = draw(256) as u8,
                _ => {
                    let part = body[at..].to_vec();
                    body.extend(part);
                }
            }
        }
        let (status, answer) = server.ask("POST", "/recommend", &body);
        assert!([200, 400, 404, 413, 422].contains(&status), "{status} {answer}: {}", String::from_utf8_lossy(&body));
    }
    assert_eq!(server.list(&json!({"history": ["i1", "new", "i2"], "k": 12})).len(), 12, "it goes on");
    let (_, answer) = server.post("/recommend", &json!({"history": ["i1", "new"]}));
    assert_eq!(answer["unknown"], json!(["new"]));
}

#[test]
fn what_is_served_is_described() {
    let bench = Bench::new();
    let titles: String = (0..40).map(|item| format!("i{item},Film number {item}\n")).collect();
    fs::create_dir(bench.path("films")).unwrap();
    fs::rename(bench.path("data.csv"), bench.path("films/data.csv")).unwrap();
    fs::write(bench.path("films/items.csv"), "item,title\n".to_string() + &titles).unwrap();
    bench.train("sasrec", "run", &["--data=films", "--set=train.epochs=1"]);
    let server = Server::start(&bench, "run", &[]);
    let (status, health) = server.ask("GET", "/health", b"");
    assert!(status == 200 && health["status"] == "ok" && health["items"] == 40, "{health}");
    assert!(health["run"].as_str().unwrap().starts_with("sasrec of "), "{health}");
    let (_, found) = server.ask("GET", "/items?query=film%20NUMBER%203", b"");
    let items: Vec<&str> =
        found["items"].as_array().unwrap().iter().map(|item| item["item"].as_str().unwrap()).collect();
    assert!(items.len() == 11 && items.iter().all(|item| item.starts_with("i3")), "{found}");
    // Of more matches than are shown, the item that is called so is the first.
    let (_, found) = server.ask("GET", "/items?query=i", b"");
    assert_eq!(found["items"].as_array().unwrap().len(), 20);
    for (query, item) in [("i1", "i1"), ("I39", "i39"), ("film%20number%203", "i3")] {
        let (_, found) = server.ask("GET", &format!("/items?query={query}"), b"");
        assert_eq!(found["items"][0]["item"], item, "{found}");
    }
    let (_, answer) = server.post("/recommend", &json!({"history": ["i1"]}));
    let best = &answer["items"][0];
    assert_eq!(best["title"].as_str().unwrap(), format!("Film number {}", &best["item"].as_str().unwrap()[1..]));
    let (_, openapi) = server.ask("GET", "/openapi.json", b"");
    assert_eq!(openapi["openapi"], "3.1.0");
    let body = &openapi["paths"]["/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(
        (&body["properties"]["k"]["maximum"], &body["properties"]["history"]["maxItems"]),
        (&json!(100), &json!(1000))
    );
    for path in openapi["paths"].as_object().unwrap().keys() {
        let posts = path.starts_with("/recommend");
        let (status, ..) = server.ask(if posts { "POST" } else { "GET" }, path, b"");
        assert_eq!(status, if posts { 400 } else { 200 }, "{path}");
    }
    let get =
        |path: &str| server.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
    let (_, head, page) = get("/");
    assert!(head.contains("text/html") && page.contains("<h1>Recommendations</h1>"));
    let (.., counts) = get("/metrics");
    assert!(counts.contains("wgrec_requests_total{route=\"/recommend\",status=\"200\"} 1"), "{counts}");
    assert!(counts.ends_with("# EOF\n") && counts.contains("wgrec_batch_visits_count 1"), "{counts}");
}

#[cfg(unix)]
#[test]
fn another_run_is_taken_over_and_no_request_is_lost() {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let bench = Bench::new();
    run(&bench, "one", 1);
    run(&bench, "two", 2);
    let point = |to: &str| {
        symlink(bench.path(to), bench.path("next")).unwrap();
        fs::rename(bench.path("next"), bench.path("now")).unwrap();
    };
    point("one");
    let mut server = Server::start(&bench, "now", &[]);
    let request = json!({"history": ["i1", "i2"], "k": 6});
    let first = server.list(&request);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    /// Ends the threads that ask, also where an assertion fails.
    struct Ends<'a>(&'a AtomicBool);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let second = std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    server.list(&request);
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let became = |to: &str| {
            let start = Instant::now();
            loop {
                let run = server.ask("GET", "/health", b"").1["run"].as_str().unwrap().to_string();
                if run.contains(&format!("/{to}, epoch ")) {
                    break;
                }
                assert!(start.elapsed() < Duration::from_secs(60), "{run}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        point("two");
        became("two");
        let second = server.list(&request);
        // What cannot be read is not taken over, and what is mended is.
        fs::create_dir(bench.path("broken")).unwrap();
        fs::write(bench.path("broken/config.toml"), "no").unwrap();
        point("broken");
        std::thread::sleep(Duration::from_millis(500));
        became("two");
        point("one");
        became("one");
        second
    });
    assert!(asked.load(Ordering::SeqCst) > 20);
    assert_ne!(first, second);
    assert_eq!(server.list(&request), first, "back to the first");
    server.terminate();
    assert_eq!(server.ended(Duration::from_secs(10)), Some(0));
}

#[cfg(unix)]
#[test]
fn the_end_waits_for_what_was_asked() {
    let bench = Bench::new();
    run(&bench, "run", 1);
    let mut server = Server::start(&bench, "run", &["--timeout=5", "--batch=2"]);
    let idle = TcpStream::connect(&server.address).unwrap();
    let body = json!({"history": ["i1"], "k": 5}).to_string();
    let head =
        format!("POST /recommend HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    // Half of a request is on its way when the signal comes.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(&[head.as_bytes(), &body.as_bytes()[..9]].concat()).unwrap();
    server.ask("GET", "/health", b"");
    server.terminate();
    std::thread::sleep(Duration::from_millis(300));
    assert!(TcpStream::connect(&server.address).is_err(), "nobody new is let in");
    stream.write_all(&body.as_bytes()[9..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(server.ended(Duration::from_secs(15)), Some(0), "nobody waits for who asks nothing");
    drop(idle);
}

#[test]
fn a_full_queue_and_a_slow_client_are_told() {
    let bench = Bench::new();
    run(&bench, "run", 1);
    let server = Server::start(&bench, "run", &["--queue=1", "--max-requests=1", "--batch=1", "--timeout=1"]);
    let ask = || {
        let body = json!({"history": ["i1"], "k": 5}).to_string();
        let head = format!(
            "POST /recommend HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let request = [head.as_bytes(), body.as_bytes()].concat();
        (0..40).map(|_| server.raw(&request)).map(|(status, head, _)| (status, head)).collect::<Vec<_>>()
    };
    let (mut answered, mut full) = (0, 0);
    // Whether clients meet is for the system to say; sooner or later they do.
    for _ in 0..50 {
        let statuses: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for (status, head) in statuses {
            assert!(status == 200 || status == 503 && head.contains("retry-after: 1"), "{head}");
            if status == 200 { answered += 1 } else { full += 1 }
        }
        if full > 0 {
            break;
        }
    }
    assert!(answered > 0 && full > 0, "{answered} answered, {full} turned away");
    let slow = b"POST /recommend HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 99\r\n\r\n{";
    let (status, _, answer) = server.raw(slow);
    assert!(status == 504 && answer.contains("no answer within 1 s"), "{status} {answer}");
}

#[test]
fn bad_use_is_refused() {
    let bench = Bench::new();
    run(&bench, "run", 1);
    let server = Server::start(&bench, "run", &[]);
    let taken = format!("--listen={}", server.address);
    for (args, why) in [
        (&["--run=nothing"][..], "no run is here"),
        (&["--run=run", "--queue=0"], "--queue: found 0; expected 1 to 16777216"),
        (&["--run=run", "--queue=4611686018427387904"], "--queue: found 4611686018427387904"),
        (&["--run=run", "--max-items=9223372036854775807"], "--max-items: found"),
        (&["--run=run", "--max-requests=9", "--queue=8"], "expected at most --queue, which is 8"),
        (&["--run=run", &taken], "cannot listen there"),
    ] {
        let error = bench.refuses(&[&["serve"], args].concat());
        assert!(error.contains(why), "{error}");
    }
    for args in [&["--listen=nowhere"][..], &["--timeout=0"], &["--poll=x"]] {
        let output = bench.run(&[&["serve", "--run=run"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
