//! What the program says of its models and settings.

mod program;

use program::Bench;
use std::fs;
use std::path::Path;

#[test]
fn the_page_of_settings_is_current() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md")).unwrap();
    assert!(page == Bench::new().ok(&["models", "--markdown"]), "run: wgrec models --markdown > docs/settings.md");
}

#[test]
fn models_and_their_settings_are_listed() {
    let bench = Bench::new();
    let all = bench.ok(&["models"]);
    for spec in wgrec::models::MODELS {
        let line = all.lines().find(|line| line.split_whitespace().next() == Some(spec.name));
        assert!(line.is_some_and(|line| line.contains(spec.title.split(' ').next().unwrap())), "{all}");
        let one = bench.ok(&["models", spec.name]);
        assert!(one.starts_with(&format!("{}: {}\n", spec.name, spec.title)), "{one}");
        for (key, _) in wgrec::settings::leaves(&spec.schema()) {
            assert!(key == "name" || one.contains(&format!("model.{key} ")), "{key} is missing in\n{one}");
        }
    }
    let one = bench.ok(&["models", "sasrec"]);
    for part in ["preset", "paper: loss.kind=bce", "model.dropout", "0.2", "at least 0 and below 1", "softmax"] {
        assert!(one.contains(part), "{part} is missing in\n{one}");
    }
    let error = bench.refuses(&["models", "sasrek"]);
    assert!(error.contains("no model is called \"sasrek\"") && error.contains("did you mean sasrec?"), "{error}");
}

#[test]
fn editors_get_a_schema() {
    let bench = Bench::new();
    let schema: serde_json::Value = serde_json::from_str(&bench.ok(&["models", "ease", "--schema"])).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "wgrec: settings of a run of ease");
    let model = &schema["properties"]["model"];
    assert_eq!(model["properties"]["ridge"]["default"], 500.0);
    assert_eq!(model["properties"]["ridge"]["exclusiveMinimum"], 0.0);
    assert_eq!(model["additionalProperties"], false);
    assert!(model["properties"]["ridge"]["description"].as_str().unwrap().contains("lambda"));
    assert!(model["properties"].get("dim").is_none() && schema.get("required").is_none());
}

/// A file has the published settings, and says so by `config.toml`.
#[test]
fn presets_stand_in_the_place_of_defaults() {
    let bench = Bench::new();
    let few = ["--set=train.max_steps=1", "--set=eval.every=9"];
    bench.train("sasrec", "default", &few);
    bench.train("sasrec", "paper", &[&few[..], &["--preset=paper"]].concat());
    let config = |run: &str| fs::read_to_string(bench.path(&format!("{run}/config.toml"))).unwrap();
    assert!(config("default").contains("kind = \"softmax\"") && config("paper").contains("kind = \"bce\""));
    // A single setting stands above.
    assert!(config("paper").contains("dim = 32"), "{}", config("paper"));
    assert!(!config("paper").contains("[world]") && !config("paper").contains("[phase"));
    let error = bench.refuses(&["train", "sasrec", "--data=data.csv", "--preset=papper"]);
    assert!(error.contains("expected a preset of sasrec: paper, recbole; did you mean paper?"), "{error}");
    let planned = bench.ok(&["plan", "stamp", "--data=data.csv", "--preset=paper"]);
    assert!(planned.contains("stamp: "), "{planned}");
}
