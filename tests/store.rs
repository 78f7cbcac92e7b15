//! What the program keeps on disk, as others find it there: processes that write at once, links, damage, refused resources.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder with a small data set in it, where the program runs with a cache of its own.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        let row = |n: u32| format!("u{},i{},{}\n", n / 8, (n / 8 + n % 8 * 3) % 20, 1_000_000_000 + n);
        fs::write(bench.path("data.csv"), "user,item,timestamp\n".to_string() + &(0..320).map(row).collect::<String>())
            .unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrec"));
        command.args(args).current_dir(self.folder.path()).env("WGREC_CACHE", self.path("cache"));
        command
    }

    /// Runs the program, which must exit with `code`, without a panic; returns what it prints and what it complains of.
    fn run(&self, args: &[&str], code: i32) -> (String, String) {
        told(self.command(args).output().unwrap(), code)
    }

    /// Trains a popularity model, in no time.
    fn train(&self, out: &str, code: i32) -> (String, String) {
        self.run(&["train", "pop", "--data=data.csv", "--device=cpu", "--out", out], code)
    }
}

fn told(output: Output, code: i32) -> (String, String) {
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    (out, error)
}

#[test]
fn processes_that_write_one_file_do_not_mix() {
    let bench = Bench::new();
    let dims: Vec<String> = (1..=12).map(|n| format!("model.dim={}", 8 * n)).collect();
    let plan = |dim: &str, dot: &str| {
        bench.command(&["plan", "sasrec", "--data=data.csv", "--device=cpu", "--set", dim, "--dot", dot])
    };
    let alone = |dim: &String| {
        told(plan(dim, "alone.dot").output().unwrap(), 0);
        fs::read(bench.path("alone.dot")).unwrap()
    };
    let expected: Vec<Vec<u8>> = dims.iter().map(alone).collect();
    let all: Vec<_> = dims.iter().map(|dim| plan(dim, "plan.dot").spawn().unwrap()).collect();
    for child in all {
        told(child.wait_with_output().unwrap(), 0);
    }
    assert!(expected.contains(&fs::read(bench.path("plan.dot")).unwrap()));
    let temporary = |name: String| name.starts_with(".wgrec-");
    let mut names = fs::read_dir(bench.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(!names.any(temporary));
}

/// A folder that somebody else has prepared must not lead writing to files outside it.
#[cfg(unix)]
#[test]
fn links_in_a_strangers_run_folder_lead_nowhere() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new();
    let precious = bench.path("precious");
    fs::write(&precious, "mine").unwrap();
    fs::create_dir(bench.path("run")).unwrap();
    for name in ["users.tsv", "items.tsv", "config.toml", "probe.tmp", "config.toml.tmp", "metrics.json.tmp"] {
        symlink(&precious, bench.path("run").join(name)).unwrap();
    }
    bench.train("run", 0);
    for name in ["metrics.json", "model.safetensors"] {
        let path = bench.path("run").join(name);
        fs::remove_file(&path).unwrap();
        symlink(&precious, &path).unwrap();
    }
    let again = ["train", "pop", "--data=data.csv", "--device=cpu", "--resume", "--out", "run"];
    bench.run(&again, 2);
    fs::remove_file(bench.path("run/model.safetensors")).unwrap();
    bench.run(&again, 0);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
    assert!(fs::symlink_metadata(bench.path("run/metrics.json")).unwrap().is_file());

    fs::create_dir(bench.path("other")).unwrap();
    symlink(&precious, bench.path("other/lock")).unwrap();
    let (_, error) = bench.train("other", 2);
    assert!(error.contains("lock is a link"), "{error}");
    assert_eq!(fs::read_to_string(&precious).unwrap(), "mine");
}

/// A changed image gives the numbers of the source, with a note; one that goes while a training reads it changes nothing.
#[test]
fn a_damaged_cache_changes_no_result() {
    let bench = Bench::new();
    bench.train("whole", 0);
    let metrics = |run: &str| {
        let text = fs::read(bench.path(run).join("metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_slice(&text).unwrap();
        metrics["test"].clone()
    };
    let images = fs::read_dir(bench.path("cache")).unwrap().map(|entry| entry.unwrap().path());
    let [image] = &images.collect::<Vec<_>>()[..] else { panic!("one image is kept") };
    let whole = fs::read(image).unwrap();
    for (n, at) in [9, whole.len() / 5, whole.len() / 2, whole.len() - 200, whole.len() - 20].into_iter().enumerate() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(image, damaged).unwrap();
        let (out, _) = bench.train(&format!("run{n}"), 0);
        assert!(out.contains("expected the data as it was kept; read from the source again"), "{out}");
        assert_eq!(metrics(&format!("run{n}")), metrics("whole"));
        assert!(fs::read(image).unwrap() == whole, "the image is made again");
    }
    let (out, _) = bench.train("last", 0);
    assert!(!out.contains("as it was kept"), "{out}");

    let train = ["train", "sasrec", "--data=data.csv", "--device=cpu", "--set=model.dim=16", "--set=train.epochs=8"];
    let mut child = bench.command(&[&train[..], &["--out=cut"]].concat()).stdout(Stdio::null()).spawn().unwrap();
    while !bench.path("cut/metrics.jsonl").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    fs::write(image, "").unwrap();
    assert!(child.wait().unwrap().success());
    bench.run(&[&train[..], &["--out=again"]].concat(), 0);
    assert_eq!(metrics("cut"), metrics("again"));
}

#[test]
fn the_cache_is_listed_and_cleared() {
    let bench = Bench::new();
    let (out, _) = bench.run(&["data", "cache"], 0);
    assert!(out.ends_with("cache: 0 files, 0 B\n"), "{out}");
    bench.run(&["data", "inspect", "data.csv"], 0);
    bench.run(&["data", "inspect", "data.csv", "--min-item=3"], 0);
    let left = [
        ".wgrec-aBcDeFgHiJkL.tmp",
        "0123456789abcdef0123456789abcdef.4294967295.tmp",
        "wgpu_pipeline_cache_x.4294967295.new",
    ];
    left.iter().for_each(|name| fs::write(bench.path("cache").join(name), "half").unwrap());
    fs::write(bench.path("cache/mine.txt"), "").unwrap();
    let (out, _) = bench.run(&["data", "cache"], 0);
    assert!(
        out.contains("cache: 2 files, ") && out.matches("320 events, 40 users, 20 items of /").count() == 2,
        "{out}"
    );
    bench.run(&["data", "inspect", "data.csv"], 0);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(bench.path("cache")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.retain(|name| !name.to_string_lossy().ends_with(".csr"));
        names
    };
    assert_eq!(names(), ["mine.txt"], "what kills have left goes at the next start");
    let (out, _) = bench.run(&["data", "cache", "--clear"], 0);
    assert!(out.contains("cache: 2 files removed, "), "{out}");
    assert_eq!(fs::read_dir(bench.path("cache")).unwrap().count(), 1);
}

/// So large a stack cannot be had, as if the system had no thread left.
#[test]
fn refused_threads_are_an_error() {
    let bench = Bench::new();
    let train = ["train", "pop", "--data=data.csv", "--device=cpu", "--out=run"];
    let synth = ["data", "synth", "--out=world"];
    for args in [&train[..], &synth] {
        let output = bench.command(args).env("RUST_MIN_STACK", (1u64 << 60).to_string()).output().unwrap();
        let (_, error) = told(output, 1);
        assert!(error.starts_with("error: no threads can be started ("), "{error}");
    }
}

/// What a process may take is limited below what the machine has free.
#[cfg(target_os = "linux")]
#[test]
fn refused_memory_is_an_error() {
    let bench = Bench::new();
    // 6,000 items: 0.9 GB for ease at its height.
    let row = |n: u32| format!("u{},i{},{}\n", n / 8, n % 6000, 1_000_000_000 + n);
    fs::write(bench.path("wide.csv"), "user,item,timestamp\n".to_string() + &(0..12_000).map(row).collect::<String>())
        .unwrap();
    let args = format!("{} train ease --data=wide.csv --device=cpu --out=run", env!("CARGO_BIN_EXE_wgrec"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -v 800000; exec {args}")]);
    shell.current_dir(bench.folder.path()).env("WGREC_CACHE", bench.path("cache")).env("RAYON_NUM_THREADS", "2");
    let (_, error) = told(shell.output().unwrap(), 2);
    assert!(error.contains("the system grants this process less (ulimit -v)"), "{error}");
}
