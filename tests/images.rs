//! `wgrec encode image` as people run it, and what it refuses.

mod program;

use program::Bench;
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

const WIDTH: usize = 32;

/// The folder of the reference model, and of its images.
fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/golden/encoders/swin")
}

/// Interactions with items i0, i1, .., and a folder of images next to them.
fn data(bench: &Bench, items: usize, images: &[(&str, Vec<u8>)]) {
    let folder = bench.path("shop");
    fs::create_dir_all(folder.join("images")).unwrap();
    let events = (0..items).map(|item| format!("u{},i{item},{}\n", item / 5, 1_000_000_000 + item));
    fs::write(folder.join("events.csv"), "user,item,timestamp\n".to_string() + &events.collect::<String>()).unwrap();
    images.iter().for_each(|(name, bytes)| fs::write(folder.join("images").join(name), bytes).unwrap());
}

fn image(name: &str) -> Vec<u8> {
    fs::read(reference().join(name)).unwrap()
}

/// An image of one colour for each number.
fn plain(number: usize) -> Vec<u8> {
    let colour = image::Rgb([number as u8, (number >> 8) as u8, 99]);
    let mut bytes = std::io::Cursor::new(vec![]);
    image::RgbImage::from_pixel(5, 7, colour).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn encode<'a>(model: &'a str, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["encode", "image", "--model", model, "--data", "shop/events.csv", "--output", output, "--device=cpu"];
    args.iter().chain(more).copied().collect()
}

/// The rows of a file in f32, and what is missing.
fn read(path: &Path) -> (Vec<Vec<f32>>, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let vectors: Vec<f32> = bytemuck::pod_collect_to_vec(file.tensor("image").unwrap().data());
    let rows = vectors.chunks(WIDTH).map(<[f32]>::to_vec).collect();
    (rows, file.tensor("image_missing").unwrap().data().to_vec())
}

#[test]
fn images_of_items_become_vectors() {
    let bench = Bench::new();
    let [gradient, shapes] = ["gradient.png", "shapes.jpg"].map(image);
    data(
        &bench,
        5,
        &[
            ("i0.png", gradient.clone()),
            ("i1_1.png", gradient),
            ("i1_2.jpg", shapes.clone()),
            ("i3.jpg", shapes),
            ("i4.png", image("grey.png")),
        ],
    );
    let model = reference().display().to_string();
    let printed = bench.ok(&encode(&model, "image.safetensors", &["--dtype=f32"]));
    for line in [
        "encoder  swin: Swin Transformer, vectors of 32\n",
        "images   3 distinct images of shop/images\n",
        "saved    image.safetensors: 32 numbers for each of 5 items, 1 missing;",
    ] {
        assert!(printed.contains(line), "no {line:?} in\n{printed}");
    }
    let (rows, missing) = read(&bench.path("image.safetensors"));
    assert_eq!((missing, &rows[2]), (vec![0, 0, 1, 0, 0], &vec![0.0; WIDTH]));
    let mean: Vec<f32> = rows[0].iter().zip(&rows[3]).map(|(a, b)| (a + b) / 2.0).collect();
    assert_eq!(rows[1], mean);
    assert!(rows[0].iter().zip(&rows[4]).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn bad_images_are_named_or_left_out() {
    // A PNG that claims 100,000 x 100,000 pixels: its header, with the sum that belongs to it.
    let mut hostile = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x02\0\0\0".to_vec();
    let mut sum = flate2::Crc::new();
    sum.update(&hostile[12..]);
    hostile.extend(sum.sum().to_be_bytes());
    hostile.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xae\x42\x60\x82");
    let [cut_jpeg, cut_png] = ["shapes.jpg", "gradient.png"].map(|name| image(name)[..300].to_vec());
    let model = reference().display().to_string();
    for (name, bytes, found) in [
        ("i1.png", b"no image".to_vec(), "found a file that is no image of a known kind"),
        ("i1.jpg", vec![], "found an empty file"),
        ("i1.png", hostile, "found an image of 100000 x 100000 pixels, where 1 to 100000000 are taken"),
        ("i1.jpg", cut_jpeg, "found a JPEG image that cannot be decoded ("),
        ("i1.png", cut_png, "found a PNG image that cannot be decoded ("),
    ] {
        let bench = Bench::new();
        data(&bench, 2, &[("i0.png", image("grey.png")), (name, bytes)]);
        let error = bench.refuses(&encode(&model, "image.safetensors", &[]));
        let place = format!("shop/images/{name}: {found}");
        assert!(error.contains(&place) && error.contains("--skip-bad"), "no {place:?} in {error}");
        assert!(!bench.path("image.safetensors").exists());
        let printed = bench.ok(&encode(&model, "skipped.safetensors", &["--skip-bad", "--dtype=f32"]));
        assert!(printed.contains("1 of them left out since they cannot be read"), "{printed}");
        assert_eq!(read(&bench.path("skipped.safetensors")).1, [0, 1], "{found}");
    }
}

#[test]
fn models_that_cannot_be_run_are_refused() {
    let bench = Bench::new();
    data(&bench, 1, &[("i0.png", image("grey.png"))]);
    let model = bench.path("model");
    let spoiled = |file: &str, from: &str, to: &str| {
        fs::create_dir_all(&model).unwrap();
        for name in ["config.json", "preprocessor_config.json", "model.safetensors"] {
            fs::write(model.join(name), image(name)).unwrap();
        }
        let text = String::from_utf8_lossy(&image(file)).replace(from, to);
        assert_ne!(text.as_bytes(), image(file), "{from}");
        fs::write(model.join(file), text).unwrap();
        bench.refuses(&encode("model", "image.safetensors", &[]))
    };
    for (file, from, to, found) in [
        ("config.json", "\"model_type\": \"swin\"", "\"model_type\": \"vit\"", "found model_type \"vit\""),
        ("config.json", "\"embed_dim\": 16", "\"embed_dim\": 24", "of shape [16, 3, 4, 4]"),
        ("config.json", "\"window_size\": 4", "\"window_size\": 3", "relative_position_bias_table of shape [49, 2]"),
        ("config.json", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"mish\"", "found hidden_act"),
        (
            "config.json",
            "\"use_absolute_embeddings\": false",
            "\"use_absolute_embeddings\": true",
            "found use_absolute",
        ),
        ("config.json", "\"num_channels\": 3", "\"num_channels\": 1", "found num_channels 1"),
        ("preprocessor_config.json", "\"resample\": 3", "\"resample\": 0", "found resample 0"),
        ("preprocessor_config.json", "\"height\": 32", "\"height\": 16", "positions"),
    ] {
        let error = spoiled(file, from, to);
        assert!(error.contains(found), "no {found:?} in {error}");
    }
    fs::remove_file(model.join("preprocessor_config.json")).unwrap();
    fs::write(model.join("config.json"), image("config.json")).unwrap();
    let error = bench.refuses(&encode("model", "image.safetensors", &[]));
    assert!(error.contains("model/preprocessor_config.json: cannot read"), "{error}");
}

/// Neither a kill nor the size of a batch changes a byte.
#[test]
fn a_kill_changes_no_byte() {
    let bench = Bench::new();
    let files: Vec<(String, Vec<u8>)> = (0..400).map(|i| (format!("i{i}.png"), plain(i))).collect();
    data(&bench, 400, &files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>());
    let model = reference().display().to_string();
    bench.ok(&encode(&model, "whole.safetensors", &["--batch=64"]));
    let (partial, output) = (bench.path("killed.safetensors.partial"), bench.path("killed.safetensors"));
    let args = encode(&model, "killed.safetensors", &["--batch=8"]);
    let mut child = bench.command(&args).stdout(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |file| file.len()) < 3_000 {
        assert!(start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "nothing to kill");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!output.exists() && partial.exists());
    assert!(bench.ok(&args).contains("resumed  "));
    assert!(fs::read(output).unwrap() == fs::read(bench.path("whole.safetensors")).unwrap());
    assert!(!partial.exists());
}
