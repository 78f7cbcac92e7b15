//! Training on what is known of items: every model, what is kept of it, and what is refused.

mod program;

use program::{Bench, small};
use std::fs;
use wgrec::models::MODELS;

const PRICE: &str = "--set=model.features=[\"price\"]";

/// The small data set, with a price for three in four of its items.
fn priced() -> Bench {
    let bench = Bench::new();
    let price = |item: u32| if item.is_multiple_of(4) { String::new() } else { format!("${}.50", 3 * item) };
    let rows: String = (0..40).map(|item| format!("i{item},Item {item},{}\n", price(item))).collect();
    fs::write(bench.path("items.csv"), format!("id,title,price\n{rows}")).unwrap();
    bench
}

#[test]
fn every_model_trains_on_features() {
    let bench = priced();
    for spec in MODELS.iter().filter(|spec| spec.loss.is_some()) {
        let more = [PRICE, "--set=model.fusion=experts", "--set=train.max_steps=2"];
        // It keeps a copy of items' own vectors.
        if spec.name == "teracon" {
            let error = bench.refuses(&small(spec.name, "none", &more));
            assert!(error.contains("model.features: found some in task again; expected none"), "{error}");
            continue;
        }
        bench.train(spec.name, spec.name, &more);
        let result = if spec.has("task") { "next.json" } else { "metrics.json" };
        let known = &bench.json(&format!("{}/{result}", spec.name))["item_features"][0];
        assert_eq!((&known["items"], &known["missing"]), (&30.into(), &10.into()), "{}", spec.name);
        bench.ok(&["recommend", "--run", spec.name, "--output=recs.csv"]);
    }
}

#[test]
fn models_train_on_the_items_of_a_batch_or_say_why_not() {
    let bench = priced();
    // DPCPL and TiMiRec are trained in two phases.
    let steps = ["--set=train.max_steps=2", "--set=loss.kind=bpr", "--set=model.tower=batch", PRICE];
    for spec in MODELS.iter().filter(|spec| spec.loss.is_some()) {
        let out = format!("batch-{}", spec.name);
        let args = small(spec.name, &out, &steps);
        match spec.name {
            "bert4rec" => {
                assert!(bench.refuses(&args).contains("model.tower: found batch; expected all, since bert4rec"))
            }
            name @ ("timirec" | "nova") => {
                assert!(bench.refuses(&args).contains(&format!("{name} has a second table of items")))
            }
            "teracon" => assert!(bench.refuses(&args).contains("model.features: found some in task again")),
            "fdsa" => assert!(bench.refuses(&args).contains("model.tower: found batch; expected all, since")),
            _ => drop(bench.ok(&args)),
        }
    }
}

/// Their values, or scores, are items' own vectors.
#[test]
fn models_of_own_vectors_say_that_they_need_them() {
    let bench = priced();
    for model in ["nova", "fdsa"] {
        let error = bench.refuses(&small(model, "none", &[PRICE, "--set=model.own_embedding=false"]));
        assert!(error.contains("model.own_embedding: found false; expected true"), "{model}: {error}");
    }
}

/// S3-Rec on data without behaviours: attributes of items, and tuning on the same events.
#[test]
fn attributes_are_predicted_in_pre_training() {
    let bench = priced();
    let rows: String = (0..40).map(|item| format!("i{item},Item {item},G{}|G{}\n", item % 5, item % 7)).collect();
    fs::write(bench.path("items.csv"), format!("id,title,genres\n{rows}")).unwrap();
    let s3rec = ["--preset=s3rec", "--set=model.pretext.attributes=true", "--set=model.features=[\"category\"]"];
    bench.train("sasrec", "s3rec", &s3rec);
    let names = |file: &str| {
        let bytes = fs::read(bench.path(file)).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.names().iter().map(|name| name.to_string()).collect::<Vec<_>>()
    };
    let of_attributes = |name: &String| name.starts_with("tower.") || name.starts_with("pretext.");
    let (pretrained, tuned) = (names("s3rec/pretrain.safetensors"), names("s3rec/model.safetensors"));
    assert_eq!(pretrained.iter().filter(|name| of_attributes(name)).count(), 9, "{pretrained:?}");
    assert!(!tuned.iter().any(of_attributes), "{tuned:?}");
    let epochs = fs::read_to_string(bench.path("s3rec/pretrain.jsonl")).unwrap();
    assert!(["segments", "attribute", "hidden_attribute"].iter().all(|term| epochs.contains(term)), "{epochs}");
    bench.ok(&["eval", "--run=s3rec"]);
    bench.ok(&["recommend", "--run=s3rec", "--output=recs.csv"]);
    for (more, expected) in [
        (&["--set=model.features=[]"][..], "model.features: found []; expected [\"category\"] or [\"text\"]"),
        (&["--set=model.fusion=experts"], "model.fusion: found experts; expected linear"),
        (&["--set=model.own_embedding=false"], "model.own_embedding: found false; expected true"),
        (&["--set=model.pretext.task=next"], "model.pretext.attributes: found true; expected model.pretext.task=mask"),
        (
            &["--set=train.batch=8000000", "--set=model.dim=4", "--set=model.inner=4"],
            "x attributes (model.pretext.attributes) x 16 bytes: found",
        ),
    ] {
        let error = bench.refuses(&small("sasrec", "none", &[&s3rec[..], more].concat()));
        assert!(error.contains(expected), "{more:?}: {error}");
    }
}

#[test]
fn features_stay_with_a_run() {
    let bench = priced();
    let features = [PRICE, "--set=loss.kind=bce"];
    bench.train("sasrec", "whole", &features);
    let shorter = [features[0], features[1], "--set=train.epochs=1"];
    bench.train("sasrec", "parts", &shorter);
    bench.train("sasrec", "parts", &[features[0], features[1], "--resume"]);
    assert_eq!(bench.model("whole"), bench.model("parts"));

    fs::write(bench.path("history.csv"), "user,item\nnew,i3\nnew,i4\n").unwrap();
    let listed = bench.ok(&["recommend", "--run=whole", "--history=history.csv", "--output=recs.csv"]);
    assert!(listed.contains("1 user"), "{listed}");
    bench.ok(&["eval", "--run=whole"]);

    let items = fs::read_to_string(bench.path("items.csv")).unwrap();
    fs::write(bench.path("items.csv"), items.replace("i1,Item 1,$3.50", "i1,Item 1,$4.50")).unwrap();
    let error = bench.refuses(&["eval", "--run=whole"]);
    assert!(error.contains("other features of items"), "{error}");
}

#[test]
fn of_the_embedded_world() {
    let bench = Bench::new();
    let all = "--set=model.features=[\"text\", \"image\", \"price\"]";
    let args =
        ["train", "sasrec", "--out=world", "--device=cpu", "--set=world.users=60", "--set=train.max_steps=2", all];
    bench.ok(&args);
    let known = bench.json("world/metrics.json")["item_features"].clone();
    let missing = known.as_array().unwrap().iter().filter(|kind| kind["missing"].as_u64() > Some(0)).count();
    assert_eq!((known.as_array().unwrap().len(), missing), (3, 3), "{known}");
}

#[test]
fn what_is_refused() {
    let bench = priced();
    for (setting, expected) in [
        ("model.features=[\"image\"]", "the items have no image: expected"),
        ("model.features=[\"price\", \"price\"]", "model.features: found \"price\" twice"),
        ("model.features=[\"prize\"]", "price"),
        ("model.price_width=3", "model.price_width: found 3; expected an even number"),
        ("model.tower=batch", "since loss.kind=softmax is over all items"),
    ] {
        let setting = format!("--set={setting}");
        let error = bench.refuses(&small("sasrec", "refused", &[PRICE, "--set=loss.kind=softmax", &setting]));
        assert!(error.contains(expected), "{setting}: {error}");
        assert!(!bench.path("refused/model.safetensors").exists());
    }
}
