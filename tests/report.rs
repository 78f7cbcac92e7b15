//! `wgrec eval --matrix` and `wgrec report`.

mod program;

use program::Bench;
use std::fs;

/// The metrics of a line of `wgrec eval`, from the column `column` on.
fn columns(text: &str, metric: &str, column: usize) -> String {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(metric));
    let line = line.unwrap_or_else(|| panic!("no {metric} in {text}"));
    line.split_whitespace().nth(1 + column).unwrap().to_string()
}

#[test]
fn each_line_of_a_matrix_is_an_evaluation_of_its_own() {
    let bench = Bench::new();
    // Popularity has ties, and no training that goes by them.
    for ties in ["average", "optimistic", "pessimistic"] {
        bench.train("pop", ties, &[&format!("--set=eval.ties={ties}")]);
    }
    let metrics = "--metrics=recall@5,ndcg@10,mrr";
    let text = bench.ok(&["eval", "--run=average", "--matrix=full,sampled:10,batch:32,sampled:100", metrics]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let figures = |start: &[&str]| -> Vec<&str> {
        let line = lines.iter().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start:?}: {text}"));
        line[start.len() + 1..].to_vec()
    };
    let mut seen = vec![];
    for ties in ["average", "optimistic", "pessimistic"] {
        let run = format!("--run={ties}");
        for (start, flags) in [
            (vec!["full", "masked", ties], vec![]),
            (vec!["full", "unmasked", ties], vec!["--unmasked"]),
            (vec!["sampled:10", ties], vec!["--protocol=sampled:10"]),
            (vec!["batch:32", ties], vec!["--protocol=batch:32"]),
        ] {
            let own = bench.ok(&[&["eval", &run, metrics], &flags[..]].concat());
            let own: Vec<String> = ["recall@5", "ndcg@10", "mrr"].map(|metric| columns(&own, metric, 0)).to_vec();
            assert_eq!(figures(&start), own, "{start:?}");
            seen.push(own);
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 12, "every way gives other figures here: {seen:?}");
    assert!(text.contains("sampled:100: "), "40 items are too few: {text}");
    let both = ["eval", "--run=average", "--matrix", "--protocol=full"];
    assert_eq!(bench.run(&both).status.code(), Some(2));
}

#[test]
fn a_page_says_what_runs_are_and_whether_they_differ() {
    let bench = Bench::new();
    bench.train("sasrec", "a", &[]);
    bench.train("sasrec", "b", &["--seed=2", "--set=train.lr=0.02"]);
    bench.train("pop", "c", &[]);
    let args = ["report", "a", "b", "c", "--out=report.html", "--matrix=full,sampled:10"];
    bench.ok(&args);
    let html = fs::read_to_string(bench.path("report.html")).unwrap();
    for foreign in ["http", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    for (open, close) in [("<table>", "</table>"), ("<tr>", "</tr>"), ("<section>", "</section>"), ("<svg ", "</svg>")]
    {
        assert_eq!(html.matches(open).count(), html.matches(close).count(), "{open}");
    }
    for run in ["a", "b", "c"] {
        let metrics = bench.json(&format!("{run}/metrics.json"));
        for figure in [&metrics["test"]["ndcg@10"], &metrics["unmasked"]["test"]["recall@20"]] {
            assert!(html.contains(&format!(">{:.4}</td>", figure.as_f64().unwrap())), "{run}: {figure}");
        }
        assert!(html.contains(metrics["data"]["fingerprint"].as_str().unwrap()));
    }
    for part in
        ["<h2>Differences</h2>", "Holm", "B-H", "<h2>Curves</h2>", "prefers-color-scheme: dark", "<h3>sampled:10</h3>"]
    {
        assert!(html.contains(part), "{part}");
    }
    // Three pairs by five metrics; two settings that differ between the first two.
    let differences = html.split("<h2>Differences</h2>").nth(1).unwrap().split("</section>").next().unwrap();
    assert_eq!(differences.matches("<tr>").count(), 1 + 15, "{differences}");
    let settings = html.split("<h2>Settings that differ</h2>").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(settings.contains("<td>train.lr</td><td>0.01</td><td>0.02</td><td></td>"), "{settings}");
    assert!(!settings.contains("model.dim"), "popularity has none, and the others the same: {settings}");
    // A page of the same runs is the same page.
    bench.ok(&args);
    assert!(html == fs::read_to_string(bench.path("report.html")).unwrap());
    assert!(html.len() < 200_000, "{}", html.len());
}

#[test]
fn pages_about_what_is_no_finished_run_are_refused() {
    let bench = Bench::new();
    bench.train("pop", "run", &[]);
    let refuses = |args: &[&str], part: &str| {
        let error = bench.refuses(&[&["report"], args].concat());
        assert!(error.contains(part), "{args:?}: {error}");
        assert!(!bench.path("report.html").exists());
    };
    refuses(&["run", "--out=report.txt"], "expected a file that ends in .html");
    refuses(&["none", "--out=report.html"], "no run is here");
    refuses(&["run", "run", "--out=report.html"], "the same run twice");
    refuses(&["run", "--out=none/report.html"], "there is no folder none");
    fs::remove_file(bench.path("run/metrics.json")).unwrap();
    refuses(&["run", "--out=report.html"], "expected the result of a run that was tested");
}
