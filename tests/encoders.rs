//! `wgrec encode` as people run it, and what it refuses.

mod program;

use program::Bench;
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use wgrec::device::Device;
use wgrec::encoders::{TextEncoder, TextOptions, Tokenized};

/// A folder of the reference values.
fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/golden/encoders").join(name)
}

/// A copy of a folder, to be spoiled.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() { copy(&entry, &to) } else { fs::write(to, fs::read(entry).unwrap()).unwrap() }
    }
}

/// Interactions with `items` items, and a table with a text of each but the second.
fn data(bench: &Bench, items: usize, text: impl Fn(usize) -> String) {
    let folder = bench.path("shop");
    fs::create_dir(&folder).unwrap();
    let events = (0..items).map(|item| format!("u{},i{item},{}\n", item / 5, 1_000_000_000 + item));
    fs::write(folder.join("events.csv"), "user,item,timestamp\n".to_string() + &events.collect::<String>()).unwrap();
    let rows = (0..items).map(|item| format!("i{item},{}\n", if item == 1 { String::new() } else { text(item) }));
    fs::write(folder.join("items.csv"), "item,title\n".to_string() + &rows.collect::<String>()).unwrap();
}

const WORDS: [&str; 7] = ["red", "glove", "the", "box", "clean", "tape", "cafe"];

/// A different text for each item, of 1 to 6 words.
fn text(item: usize) -> String {
    let digits: Vec<&str> = (0..6).map(|at| WORDS[item / 7usize.pow(at) % 7]).collect();
    digits[..1 + item % 6].join(" ") + " 1"
}

fn encode<'a>(model: &'a str, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["encode", "text", "--model", model, "--data", "shop/events.csv", "--output", output, "--device=cpu"];
    args.iter().chain(more).copied().collect()
}

#[test]
fn texts_of_items_become_vectors() {
    let bench = Bench::new();
    data(&bench, 8, |item| text(item % 4));
    let model = reference("bert_b").display().to_string();
    let printed = bench.ok(&encode(&model, "text.safetensors", &["--dtype=f32"]));
    for line in [
        "encoder  bert_b: BERT, 1 block, 16 wide; the mean of all tokens, normalised; at most 14 tokens\n",
        "texts    7 texts of shop/items.csv, 4 distinct;",
        "saved    text.safetensors: 16 numbers for each of 8 items, 1 missing;",
    ] {
        assert!(printed.contains(line), "no {line:?} in\n{printed}");
    }
    let bytes = fs::read(bench.path("text.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("text_missing").unwrap().data(), [0, 1, 0, 0, 0, 0, 0, 0]);
    let vectors: Vec<f32> = bytemuck::pod_collect_to_vec(file.tensor("text").unwrap().data());
    let row = |item: usize| &vectors[item * 16..][..16];
    assert_eq!((row(0), row(1), row(3)), (row(4), &[0.0; 16][..], row(7)));
    let length: f32 = row(5).iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let about = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    assert_eq!(about["ids"], r#"["i0","i1","i2","i3","i4","i5","i6","i7"]"#);

    let printed = bench.ok(&encode(&model, "dropped.safetensors", &["--drop-words=0.5", "--seed=3"]));
    assert!(printed.contains("words    each is dropped with chance 0.5, seed 3"), "{printed}");
    let dropped = fs::read(bench.path("dropped.safetensors")).unwrap();
    let about = SafeTensors::read_metadata(&dropped).unwrap().1.metadata().clone().unwrap();
    assert!(about["wgrec"].contains(r#""drop_words":{"share":0.5,"seed":3}"#), "{about:?}");
    let of = |bytes: &[u8]| SafeTensors::deserialize(bytes).unwrap().tensor("text").unwrap().data().to_vec();
    assert_ne!(of(&dropped), of(&bytes));
    bench.ok(&encode(&model, "other.safetensors", &["--drop-words=0.5", "--seed=4"]));
    assert_ne!(of(&fs::read(bench.path("other.safetensors")).unwrap()), of(&dropped));
    for (flag, expected) in
        [("--drop-words=1", "expected a number of at least 0 and below 1"), ("--seed=2", "--drop-words")]
    {
        let error = bench.refuses(&encode(&model, "no.safetensors", &[flag]));
        assert!(error.contains(expected), "{error}");
    }

    // Flags come before what the folder says.
    let flags = ["--pooling=cls", "--normalize=false", "--max-length=4", "--dtype=f16"];
    let printed = bench.ok(&encode(&model, "cls.safetensors", &flags));
    assert!(printed.contains("16 wide; the first token; at most 4 tokens"), "{printed}");
    let names: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
}

#[test]
fn a_kill_changes_no_byte() {
    let bench = Bench::new();
    data(&bench, 6000, text);
    let model = reference("bert_b").display().to_string();
    let args = |output: &'static str| {
        encode(&model, output, &["--batch=1"]).iter().map(|arg| arg.to_string()).collect::<Vec<_>>()
    };
    let run = |output: &'static str| bench.ok(&args(output).iter().map(String::as_str).collect::<Vec<_>>());
    run("whole.safetensors");
    let (partial, output) = (bench.path("killed.safetensors.partial"), bench.path("killed.safetensors"));
    let args = args("killed.safetensors");
    let mut child = bench.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let mut child = child.stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |file| file.len()) < 10_000 {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "nothing to kill");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!output.exists() && partial.exists());
    // Another command may not take what it left for its own.
    let error = bench.refuses(&encode(&model, "killed.safetensors", &["--batch=1", "--pooling=cls"]));
    assert!(error.contains("killed.safetensors.partial: found vectors of another encoder, other settings"), "{error}");
    let printed = run("killed.safetensors");
    assert!(printed.contains("resumed  "), "{printed}");
    assert!(fs::read(output).unwrap() == fs::read(bench.path("whole.safetensors")).unwrap());
    assert!(!partial.exists());
}

/// Bits of a vector are the same in a batch of one, of many, and of others of its length.
#[test]
fn a_vector_depends_on_its_text_alone() {
    for (name, batch) in [("bert_a", 1), ("bert_a", 3), ("bert_b", 7)] {
        let open = |batch| {
            let options = TextOptions { batch, ..TextOptions::default() };
            TextEncoder::open(&reference(name), Device::open("cpu").unwrap().0, options).unwrap()
        };
        let texts: Vec<String> = (0..200).map(|item| format!("{} {}", text(item), text(item * 31))).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let vectors = |encoder: &mut TextEncoder, tokens: &[Tokenized]| {
            let mut of = vec![vec![]; tokens.len()];
            for batch in encoder.batches(tokens) {
                let texts: Vec<&Tokenized> = batch.iter().map(|&text| &tokens[text as usize]).collect();
                for (&text, vector) in batch.iter().zip(encoder.encode(&texts).unwrap()) {
                    of[text as usize] = vector;
                }
            }
            of
        };
        let (mut all, mut few) = (open(None), open(Some(batch)));
        let tokens = all.tokens(&texts).unwrap();
        let mut back: Vec<Tokenized> = tokens.iter().rev().cloned().collect();
        back.truncate(90);
        let mut found = vectors(&mut few, &back);
        found.reverse();
        assert!(vectors(&mut all, &tokens)[110..] == found[..], "{name}, batches of {batch}");
    }
}

/// The vector of a text by the model in a folder.
fn vector(folder: &Path) -> wgrec::Result<Vec<f32>> {
    let mut encoder = TextEncoder::open(folder, Device::open("cpu")?.0, TextOptions::default())?;
    let tokens = encoder.tokens(&["the red glove"])?;
    Ok(encoder.encode(&[&tokens[0]])?.remove(0))
}

/// The header of a safetensors file, and its data.
fn parts(path: &Path) -> (serde_json::Value, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&bytes[8..8 + size]).unwrap(), bytes[8 + size..].to_vec())
}

fn put(path: &Path, header: &str, data: &[u8]) {
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()).unwrap();
}

/// Weights in several files, and in other floats.
#[test]
fn other_forms_of_weights_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = vector(&reference("bert_a")).unwrap();
    let sharded = folder.path().join("sharded");
    copy(&reference("bert_a"), &sharded);
    let bytes = fs::read(sharded.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for part in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", part + 1);
        let tensors = file.tensors().into_iter().enumerate().filter(|(at, _)| at % 2 == part).map(|(_, tensor)| tensor);
        let tensors: Vec<_> = tensors.collect();
        map.extend(tensors.iter().map(|(tensor, _)| (tensor.clone(), name.clone().into())));
        fs::write(sharded.join(name), safetensors::serialize(tensors, None).unwrap()).unwrap();
    }
    fs::remove_file(sharded.join("model.safetensors")).unwrap();
    let index = sharded.join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    assert_eq!(vector(&sharded).unwrap(), wanted);

    fs::remove_file(sharded.join("model-00002-of-00002.safetensors")).unwrap();
    let error = vector(&sharded).unwrap_err();
    assert!(error.to_string().contains("model-00002-of-00002.safetensors: cannot read"), "{error}");
    for (text, why) in [
        (r#"{"weight_map": {"a": "../model.safetensors"}}"#, "found the file \"../model.safetensors\""),
        (r#"{"weight_map": {}}"#, "found no files"),
        (r#"{"weight_map": [1]}"#, "found no list of files"),
    ] {
        fs::write(&index, text).unwrap();
        let error = vector(&sharded).unwrap_err();
        assert!(error.to_string().contains(why) && error.exit_code() == 2, "{error}");
    }

    let wide = folder.path().join("wide");
    copy(&reference("bert_a"), &wide);
    let doubles: Vec<_> = file
        .tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let floats: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            let bytes: Vec<u8> = floats.iter().flat_map(|&x| (x as f64).to_le_bytes()).collect();
            (name, tensor.shape().to_vec(), bytes)
        })
        .collect();
    let views = doubles.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F64, shape.clone(), bytes).unwrap())
    });
    fs::write(wide.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    assert_eq!(vector(&wide).unwrap(), wanted);
}

/// Replaces `from` by `to` in a file of text, where it must be.
fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{}", path.display());
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Makes a folder one that is to be refused.
type Spoil = Box<dyn Fn(&Path)>;

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let config =
        |from: &'static str, to: &'static str| move |folder: &Path| edit(&folder.join("config.json"), from, to);
    let weights = |change: fn(&mut serde_json::Value, &mut Vec<u8>)| {
        move |folder: &Path| {
            let path = folder.join("model.safetensors");
            let (mut header, mut data) = parts(&path);
            change(&mut header, &mut data);
            put(&path, &header.to_string(), &data);
        }
    };
    let file =
        |name: &'static str, text: &'static str| move |folder: &Path| fs::write(folder.join(name), text).unwrap();
    let cases: Vec<(&str, Spoil)> = vec![
        ("config.json: found model_type \"roberta\"; expected \"bert\"", Box::new(config("\"bert\"", "\"roberta\""))),
        ("config.json: found no model_type", Box::new(config("\"model_type\"", "\"type\""))),
        ("config.json: found hidden_act swish; expected gelu,", Box::new(config("\"gelu\"", "\"swish\""))),
        (
            "config.json: found position_embedding_type relative_key",
            Box::new(config("\"absolute\"", "\"relative_key\"")),
        ),
        (
            "config.json: found num_attention_heads 5; expected a divisor of hidden_size, 24",
            Box::new(config("_heads\": 3", "_heads\": 5")),
        ),
        (
            "config.json: found num_attention_heads 0; expected at least 1",
            Box::new(config("_heads\": 3", "_heads\": 0")),
        ),
        ("config.json: found hidden_size -24; expected another value", Box::new(config("size\": 24", "size\": -24"))),
        (
            "config.json: found no hidden_size; expected the model's hidden_size",
            Box::new(config("hidden_size", "hidden")),
        ),
        (
            "found embeddings.word_embeddings.weight of shape [50, 24]; expected embeddings.word_embeddings.weight of shape [51, 24]",
            Box::new(config("vocab_size\": 50", "vocab_size\": 51")),
        ),
        (
            "model.safetensors: found no tensor encoder.layer.2.attention.self.query.weight; expected one of shape [24, 24]",
            Box::new(config("layers\": 2", "layers\": 2000000000000")),
        ),
        (
            "expected encoder.layer.0.intermediate.dense.weight of shape [9000000000000000000, 24]",
            Box::new(config("intermediate_size\": 32", "intermediate_size\": 9000000000000000000")),
        ),
        ("config.json:1:1: found no JSON", Box::new(file("config.json", "{"))),
        ("config.json: found a value that is no object", Box::new(file("config.json", "[]"))),
        (
            "model.safetensors: found no tensor encoder.layer.1.output.dense.weight; expected one of shape [24, 32]",
            Box::new(weights(|header, _| {
                let moved = header.as_object_mut().unwrap().remove("encoder.layer.1.output.dense.weight").unwrap();
                header["other"] = moved;
            })),
        ),
        (
            "found encoder.layer.1.output.dense.weight of shape [32, 24]; expected encoder.layer.1.output.dense.weight of shape [24, 32]",
            Box::new(weights(|header, _| {
                header["encoder.layer.1.output.dense.weight"]["shape"] = serde_json::json!([32, 24])
            })),
        ),
        (
            "found encoder.layer.1.output.dense.weight as I32; expected F32,",
            Box::new(weights(|header, _| header["encoder.layer.1.output.dense.weight"]["dtype"] = "I32".into())),
        ),
        (
            "where element [0, 0] of [24, 24] is NaN; expected finite numbers",
            Box::new(weights(|header, data| {
                let at =
                    header["encoder.layer.0.attention.self.key.weight"]["data_offsets"][0].as_u64().unwrap() as usize;
                data[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            })),
        ),
        ("bytes of tensors where the header lists", Box::new(weights(|_, data| data.truncate(data.len() - 1)))),
        ("bytes of tensors where the header lists", Box::new(weights(|_, data| data.push(0)))),
        (
            "model.safetensors: found a broken header",
            Box::new(weights(|header, _| {
                header["encoder.layer.1.output.dense.weight"]["data_offsets"] = serde_json::json!([0, 1u64 << 40])
            })),
        ),
        (
            "model.safetensors: found a broken header",
            Box::new(weights(|header, _| {
                header["encoder.layer.1.output.dense.weight"]["shape"] = serde_json::json!([1u64 << 40, 1u64 << 40])
            })),
        ),
        (
            "model.safetensors: found 3 bytes; expected a whole safetensors file",
            Box::new(file("model.safetensors", "abc")),
        ),
        (
            "found a header of 7016996765293437281 bytes in a file of 12",
            Box::new(file("model.safetensors", "aaaaaaaaaaaa")),
        ),
        ("model.safetensors: found a broken header", Box::new(file("model.safetensors", "\u{4}\0\0\0\0\0\0\0[[[["))),
        (
            "found only pytorch_model.bin; expected weights as model.safetensors: save the model again",
            Box::new(|folder: &Path| {
                fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap()
            }),
        ),
        (
            "found no model.safetensors; expected weights",
            Box::new(|folder: &Path| fs::remove_file(folder.join("model.safetensors")).unwrap()),
        ),
        (
            "found no tokenizer.json; expected",
            Box::new(|folder: &Path| fs::remove_file(folder.join("tokenizer.json")).unwrap()),
        ),
        ("tokenizer.json: found", Box::new(file("tokenizer.json", "{}"))),
        (
            "tokenizer.json: found the token \"##y\" with id 50; expected ids below 50, the rows of the model's embedding",
            Box::new(|folder: &Path| edit(&folder.join("tokenizer.json"), "\"##y\": 49", "\"##y\": 50")),
        ),
        (
            "with ids below 50",
            Box::new(|folder: &Path| {
                let path = folder.join("tokenizer.json");
                let mut tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                tokenizer["post_processor"]["special_tokens"]["[CLS]"]["ids"] = serde_json::json!([77]);
                fs::write(path, tokenizer.to_string()).unwrap();
            }),
        ),
        (
            "the tokenizer adds 2 special tokens to each text; expected at least 3",
            Box::new(file("sentence_bert_config.json", r#"{"max_seq_length": 2}"#)),
        ),
    ];
    for (why, spoil) in cases {
        let folder = tempfile::tempdir().unwrap();
        copy(&reference("bert_a"), folder.path());
        spoil(folder.path());
        let error = vector(folder.path()).expect_err(why);
        assert!(error.to_string().contains(why), "{error}\nexpected {why}");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[test]
fn the_program_refuses_before_it_writes() {
    let bench = Bench::new();
    data(&bench, 8, text);
    let model = reference("bert_a").display().to_string();
    for (more, why) in [
        (&["--max-length=33"][..], "found 32 positions; expected at least the 33 that are asked for"),
        (&["--max-length=2"], "expected at least 3"),
        (&["--batch=0"], "0"),
        (&["--pooling=max"], "max"),
        (&["--dtype=f64"], "f64"),
    ] {
        let output = bench.run(&encode(&model, "text.safetensors", more));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(why), "{error}");
    }
    let error = bench.refuses(&encode("nowhere", "text.safetensors", &[]));
    assert!(
        error.contains("nowhere: found nothing; expected a folder with config.json and model.safetensors"),
        "{error}"
    );
    let error = bench.refuses(&encode(&model, "text.npy", &[]));
    assert!(error.contains("--output text.npy: expected a name that ends in .safetensors"), "{error}");
    let error = bench.refuses(&encode(&model, "missing/text.safetensors", &[]));
    assert!(error.contains("there is no folder missing"), "{error}");
    fs::write(bench.path("shop/items.csv"), "item,title\ni0,\ni1, \n").unwrap();
    bench.refuses(&encode(&model, "text.safetensors", &[]));
    let names: Vec<_> = fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("text.")), "{names:?}");
}
