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
    for part in ["preset", "paper: loss.kind=bce", "model.dropout", "0.2", "below 1", "softmax"] {
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
    // A single setting comes first.
    assert!(config("paper").contains("dim = 32"), "{}", config("paper"));
    assert!(!config("paper").contains("[world]") && !config("paper").contains("[phase"));
    let error = bench.refuses(&["train", "sasrec", "--data=data.csv", "--preset=papper"]);
    assert!(error.contains("expected a preset of sasrec: paper, s3rec, recbole; did you mean paper?"), "{error}");
    let planned = bench.ok(&["plan", "stamp", "--data=data.csv", "--preset=paper"]);
    assert!(planned.contains("stamp: "), "{planned}");
}

const KEYS: &str = "seed = 3\n[train]\nlr = 0.1\n";

/// The key, what was found, what is expected, and the nearest or the models that have it; in each of the three ways to set it.
#[test]
fn a_wrong_setting_is_named_wherever_it_stands() {
    let bench = Bench::new();
    // The key, the value as TOML and YAML both have it, and what is said.
    let cases = [
        ("train.lerning_rate", "0.1", &["there is no setting \"train.lerning_rate\"; did you mean train.lr?"][..]),
        ("train.bach", "8", &["there is no setting \"train.bach\"; did you mean train.batch?"]),
        ("data.maxlen", "8", &["there is no setting \"data.maxlen\"; did you mean data.max_len?"]),
        ("model.hidden_size", "8", &["there is no setting \"model.hidden_size\"; here it is model.dim"]),
        ("model.droput", "0.1", &["there is no setting \"model.droput\"; did you mean model.dropout?"]),
        ("model.ridge", "3.0", &["sasrec has no setting \"model.ridge\"; it is one of ease"]),
        ("model.interests", "3", &["sasrec has no setting \"model.interests\"; it is one of pomrec"]),
        ("model.prompt.tokens", "3", &["sasrec has no setting \"model.prompt.tokens\"; it is one of dpcpl"]),
        ("model.window", "3", &["sasrec has no setting \"model.window\"; it is one of caser"]),
        ("model.dim", "0", &["model.dim: found 0; expected a whole number of at least 1 and at most 65536"]),
        ("model.dropout", "1.0", &["model.dropout: found 1.0; expected a number of at least 0 and below 1"]),
        ("train.lr", "-0.5", &["train.lr: found -0.5; expected a number above 0"]),
        ("loss.t", "2.0", &["loss.t: found 2.0; expected a number of at least 0 and at most 1"]),
        ("train.batch", "0", &["train.batch: found 0; expected a whole number of at least 1"]),
        ("model.layers", "\"two\"", &["model.layers: found \"two\"; expected a whole number of at least 1"]),
        ("train.decoupled", "3", &["train.decoupled: found 3; expected true or false"]),
        ("train.epochs", "2.5", &["train.epochs: found 2.5; expected a whole number of at least 1"]),
        ("model.norm", "\"between\"", &["model.norm: found \"between\"; expected pre or post"]),
        ("loss.kind", "\"hinge\"", &["loss.kind: found \"hinge\"; expected bpr, bce, gbce, softmax, "]),
        ("loss.kind", "\"softmx\"", &["loss.kind: found \"softmx\"; expected bpr, bce, ", "; did you mean softmax?"]),
        ("eval.metric", "\"auc@10\"", &["eval.metric: found \"auc@10\"; expected recall@K (or hit@K), ndcg@K"]),
        ("train", "3", &["train: found 3; expected a table of settings"]),
    ];
    let train = |settings: &str| bench.refuses(&["train", "sasrec", "--data=data.csv", "--out=run", settings]);
    for (key, value, said) in cases {
        let error = train(&format!("--set={key}={value}"));
        assert!(error.starts_with(&format!("error: --set {key}={value}: ")), "{error}");
        let (section, own) = key.rsplit_once('.').unwrap_or(("", key));
        let head = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
        let toml = if section.is_empty() {
            format!("{own} = {value}\n")
        } else {
            format!("seed = 3\n{head}{own} = {value}\n")
        };
        fs::write(bench.path("run.toml"), &toml).unwrap();
        let in_toml = train("--config=run.toml");
        let line = toml.lines().count();
        assert!(in_toml.starts_with(&format!("error: run.toml:{line}: ")), "{in_toml}");
        let names: Vec<&str> = key.split('.').collect();
        let mut yaml = "seed: 3\n".to_string();
        for (depth, name) in names.iter().enumerate() {
            let end = if depth + 1 == names.len() { format!(" {value}") } else { String::new() };
            yaml += &format!("{}{name}:{end}\n", "  ".repeat(depth));
        }
        fs::write(bench.path("run.yaml"), &yaml).unwrap();
        let in_yaml = train("--config=run.yaml");
        let line = yaml.lines().count();
        assert!(in_yaml.starts_with(&format!("error: run.yaml:{line}: ")), "{in_yaml}");
        for error in [error, in_toml, in_yaml] {
            assert!(said.iter().all(|said| error.contains(said)), "{key} = {value}: {error}");
        }
        assert!(!bench.path("run").exists());
    }
}

#[test]
fn yaml_is_read_as_toml_is() {
    let bench = Bench::new();
    fs::write(bench.path("run.toml"), KEYS.to_string() + "[model]\ndim = 8\nnorm = \"post\"\n").unwrap();
    fs::write(bench.path("run.yml"), "seed: 3\ntrain: {lr: 0.1}\nmodel:\n  dim: 8\n  norm: post\n  inner: ~\n")
        .unwrap();
    let few = ["--set=train.max_steps=1", "--set=data.max_len=6"];
    for (run, file) in [("toml", "--config=run.toml"), ("yaml", "--config=run.yml")] {
        let out = format!("--out={run}");
        let printed =
            bench.ok(&[&["train", "sasrec", "--data=data.csv", "--device=cpu", &out, file][..], &few].concat());
        assert!(!printed.contains("RecBole"), "{printed}");
    }
    let config = |run: &str| fs::read_to_string(bench.path(&format!("{run}/config.toml"))).unwrap();
    assert_eq!(config("toml"), config("yaml"));
    for (text, said) in [
        ("train: {lr: 0.1\nseed: 1\n", "run.yml:"),
        ("seed: 1\nseed: 2\n", "run.yml:2:"),
        ("- 1\n", "run.yml:1: found [1]; expected settings"),
        ("model: GRU4Rec\n", "run.yml:1: model: found \"GRU4Rec\"; expected sasrec"),
    ] {
        fs::write(bench.path("run.yml"), text).unwrap();
        let error = bench.refuses(&["train", "sasrec", "--data=data.csv", "--config=run.yml"]);
        assert!(error.contains(said), "{error}");
    }
}

/// A line of the table of translated words.
fn row<'a>(printed: &'a str, word: &str) -> &'a str {
    let mut lines = printed.lines().filter(|line| line.split_whitespace().next() == Some(word));
    lines.next().unwrap_or_else(|| panic!("no {word} in\n{printed}"))
}

#[test]
fn configurations_of_recbole_are_translated() {
    let bench = Bench::new();
    let file = |name: &str| format!("--config={}/tests/cases/recbole/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let few = ["--data=data.csv", "--device=cpu", "--set=train.max_steps=1"];
    let train = |model: &str| bench.ok(&[&["train", model, "--out", model, &file(model)][..], &few].concat());
    let config = |run: &str| -> toml::Table {
        fs::read_to_string(bench.path(&format!("{run}/config.toml"))).unwrap().parse().unwrap()
    };
    let check = |config: &toml::Table, settings: &[(&str, &str)]| {
        for (key, value) in settings {
            let found =
                key.split('.').try_fold(&toml::Value::Table(config.clone()), |table, name| table.get(name)).cloned();
            assert_eq!(found.map(|value| value.to_string()).as_deref(), Some(*value), "{key}");
        }
    };

    let printed = train("sasrec");
    check(
        &config("sasrec"),
        &[
            ("seed", "2020"),
            ("device", "\"cpu\""),
            ("data.max_len", "20"),
            ("data.min_user", "5"),
            ("data.min_item", "5"),
            ("data.split", "\"leave-one-out\""),
            ("model.layers", "1"),
            ("model.heads", "2"),
            ("model.dim", "32"),
            ("model.inner", "64"),
            ("model.dropout", "0.3"),
            ("loss.kind", "\"softmax\""),
            ("train.epochs", "2"),
            ("train.batch", "64"),
            ("train.lr", "0.002"),
            ("train.weight_decay", "0.0001"),
            ("train.clip", "5.0"),
            ("train.patience", "10"),
            ("eval.batch", "128"),
            ("eval.every", "2"),
            ("eval.protocol", "\"full\""),
            ("eval.mask_history", "false"),
            ("eval.metric", "\"mrr@10\""),
        ],
    );
    assert!(row(&printed, "learning_rate").contains("train.lr = 0.002"), "{printed}");
    assert!(row(&printed, "hidden_act").contains("fixed here"), "{printed}");
    assert!(row(&printed, "state").contains("changes no result"), "{printed}");
    assert!(!printed.contains("warning"), "{printed}");

    let printed =
        bench.ok(&["plan", "gru4rec", "--data=data.csv", "--device=cpu", &file("gru4rec"), "--value-column=rating"]);
    for (word, here) in [
        ("embedding_size", "model.dim = 32"),
        ("hidden_size", "model.hidden = 48"),
        ("num_layers", "model.layers = 2"),
        ("loss_type", "loss.kind = \"bpr\""),
        ("train_neg_sample_args", "train.negatives = 4"),
        ("RATING_FIELD", "data.columns.value = \"stars\""),
        ("val_interval", "data.min_value = 3"),
        ("eval_args.split", "data.split = \"time:0.8,0.1,0.1\""),
        ("eval_args.mode", "eval.protocol = \"sampled:50\""),
    ] {
        assert!(row(&printed, word).contains(here), "{word}: {printed}");
    }
    let warned: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("warning  ")).collect();
    for word in ["learner: sgd", "rm_dup_inter: last", "eval_args.order: RO", "eval_args.mode: ", "my_own_option: 3"] {
        assert!(warned.iter().any(|line| line.starts_with(word)), "{word} in\n{printed}");
    }
    assert_eq!(warned.len(), 5, "{printed}");

    let printed = bench.ok(&["plan", "bert4rec", "--data=data.csv", "--device=cpu", &file("bert4rec")]);
    assert!(row(&printed, "mask_ratio").contains("model.hidden_share = 0.3"), "{printed}");
    assert!(row(&printed, "eval_args.mode").contains("sampled:100"), "{printed}");
    assert!(printed.contains("warning  attn_dropout_prob: 0.1"), "{printed}");

    // RecBole ranks the history of a sequential model unless it is told not to, and two words can be one setting.
    fs::write(bench.path("short.yaml"), "seed: 3\ntrain_batch_size: 8\n").unwrap();
    let printed = bench.ok(&["plan", "sasrec", "--data=data.csv", "--device=cpu", "--config=short.yaml"]);
    assert!(row(&printed, "seed").contains("seed = 3"), "{printed}");
    assert!(printed.contains("warning  repeatable: not given") && printed.contains("eval.mask_history"), "{printed}");
    fs::write(bench.path("twice.yaml"), "min_user_inter_num: 3\nuser_inter_num_interval: \"[5,inf)\"\n").unwrap();
    let error = bench.refuses(&["train", "sasrec", "--data=data.csv", "--config=twice.yaml"]);
    let expected = "user_inter_num_interval and min_user_inter_num are both data.min_user here; expected one value";
    assert!(error.contains("twice.yaml:2: ") && error.contains(expected), "{error}");

    // A slip is not one of the words that mean nothing here.
    fs::write(bench.path("slip.yaml"), "train_batch_size: 8\nlearnin_rate: 0.1\n").unwrap();
    let error = bench.refuses(&["train", "sasrec", "--data=data.csv", "--config=slip.yaml"]);
    assert!(
        error.contains("slip.yaml:2: there is no setting \"learnin_rate\"; did you mean learning_rate?"),
        "{error}"
    );
    fs::write(bench.path("slip.yaml"), "train_batch_size: many\n").unwrap();
    let error = bench.refuses(&["train", "sasrec", "--data=data.csv", "--config=slip.yaml"]);
    assert!(error.contains("slip.yaml:1: train_batch_size: train.batch: found \"many\"; expected a whole"), "{error}");
}
