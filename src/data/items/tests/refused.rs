//! Files of items that are refused, with the message of each; nothing is left in the cache.

use super::*;
use crate::tensor::philox::Stream;

/// The message for embeddings of a, b, c in `text.NAME`.
fn of_file(name: &str, contents: impl AsRef<[u8]>) -> String {
    let folder = Folder::new().with(name, contents).with("items.csv", "id,title\na,A\nb,B\nc,C\n");
    folder.complaint(folder.vectors(Modality::Text))
}

fn header(json: &str, data: usize) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn hostile_headers() {
    let whole = safetensors(&[("text", Dtype::F32, vec![3, 2], bytes(&[1.0; 6]))], None);
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"text":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let mask = r#","text_missing":{"dtype":"U8","shape":[2],"data_offsets":[12,14]}}"#;
    let masked = tensor("F32", "[3,1]", "[0,12]");
    let masked = format!("{}{mask}", &masked[..masked.len() - 1]);
    let huge = u64::MAX / 4;
    for (contents, expected) in [
        (vec![], "text.safetensors: found a file of 0 bytes; expected a whole safetensors file"),
        (b"text".to_vec(), "found a file of 4 bytes"),
        (u64::MAX.to_le_bytes().to_vec(), "found a header of 18446744073709551615 bytes in a file of 8"),
        (100_000_000u64.to_le_bytes().to_vec(), "found a header of 100000000 bytes in a file of 8"),
        (header("{\"text\":", 0), "found a header that is none of safetensors ("),
        (header(&"[".repeat(90_000), 0), "found a header that is none of safetensors ("),
        (whole[..whole.len() - 1].to_vec(), "found 23 bytes of tensors, of which the header names 24"),
        ([&whole[..], b"\0"].concat(), "found 25 bytes of tensors, of which the header names 24"),
        (header(&tensor("F32", "[3,2]", "[0,20]"), 20), "found a header that is none of safetensors ("),
        (header(&tensor("F32", "[3,2]", "[24,0]"), 0), "found a header that is none of safetensors ("),
        (
            header(&tensor("F32", &format!("[{huge},{huge}]"), "[0,24]"), 24),
            "found a header that is none of safetensors (",
        ),
        (header(&tensor("F32", "[0,2]", "[0,0]"), 0), "found text of shape [0, 2]; expected [items, width]"),
        (header(&tensor("F32", "[3,0]", "[0,0]"), 0), "found text of shape [3, 0]; expected [items, width]"),
        (
            header(&tensor("F32", "[1,1,1,6]", "[0,24]"), 24),
            "found text of shape [1, 1, 1, 6]; expected [items, width]",
        ),
        (
            header(&tensor("F16", "[1,1048577]", "[0,2097154]"), 2_097_154),
            "found 1048577 numbers a row; expected at most 1048576",
        ),
        (header(&tensor("I64", "[3,1]", "[0,24]"), 24), "found text of I64; expected f16, bf16, f32 or f64"),
        (header("{}", 0), "found the tensors [] of floats; expected one of them called embeddings or text"),
        (header(&masked, 14), "found text_missing of U8 and shape [2]; expected a byte for each of the 3 rows of text"),
    ] {
        let message = of_file("text.safetensors", &contents);
        assert!(message.contains(expected), "{message}\nfor {expected}");
    }
    for name in ["model-00001-of-00002.safetensors", "model.safetensors.index.json"] {
        let folder = Folder::new().with(name, &whole);
        let path = folder.path(name);
        let folder = folder.set(|config| config.text = Some(path));
        let message = folder.complaint(folder.vectors(Modality::Text));
        assert!(
            message.contains(&format!("{name}: found a part of safetensors that are split over several files")),
            "{message}"
        );
    }
    let numbers = bytes(&[1.0; 6]);
    let version = [b"\x93NUMPY\x04\x00", &[0; 16][..]].concat();
    let long = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..], b"{}"].concat();
    let fortran = npy_of("{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", &numbers);
    for (contents, expected) in [
        (b"\x93NUMPY\x01".to_vec(), "text.npy: found a file of 7 bytes; expected a whole .npy file"),
        (version, "found version 4 of .npy; expected version 1, 2 or 3"),
        (long, "found a header of 4294967295 bytes in a file of 14"),
        (fortran, "found numbers in Fortran's order; expected C's order"),
        (
            npy("<f4", "(3, 2)", &numbers[..23]),
            "found 23 bytes for the shape [3, 2] of \"<f4\"; expected a whole .npy file",
        ),
        (npy("<f4", "(3, 2)", &[&numbers[..], b"1"].concat()), "found 25 bytes for the shape [3, 2]"),
        (npy(">f4", "(3, 2)", &numbers), "found numbers of type \">f4\"; expected little-endian floats"),
        (npy("|O", "(3, 2)", &numbers), "found numbers of type \"|O\""),
        (npy("<f4", "()", &numbers), "found an array of shape []; expected [items, width]"),
        (npy("<f4", "(-3, 2)", &numbers), "found the header"),
        (npy("<f4", &format!("({huge}, {huge})"), &numbers), "found 24 bytes for the shape"),
        (npy("<f4", &"(".repeat(60_000), &numbers), "found the header"),
        (npy("<f4", "(3, 2", &numbers), "found the header"),
    ] {
        let message = of_file("text.npy", &contents);
        assert!(message.contains(expected), "{message}\nfor {expected}");
    }
}

#[test]
fn numbers_and_rows_that_do_not_fit() {
    let of = |numbers: &[f32], ids: &str| {
        safetensors(&[("text", Dtype::F32, vec![3, numbers.len() / 3], bytes(numbers))], Some(ids))
    };
    let ids = r#"["c", "b", "a"]"#;
    for (contents, expected) in [
        (of(&[1.0, 2.0, f32::NAN], ids), "found NaN in row 2, column 0 (from 0); expected finite numbers of an f32"),
        (of(&[1.0, 2.0, 3.0, f32::INFINITY, 5.0, 6.0], ids), "found inf in row 1, column 1 (from 0)"),
        (
            of(&[0.0; 6], ids),
            "found no item of the data with a row that is not zeros; expected the text of one item at least",
        ),
        (of(&[1.0; 3], r#"["c", "b"]"#), "found 2 ids of 3 rows; expected an id for each row"),
        (of(&[1.0; 3], r#"["c", "b", "c"]"#), "found two rows for the item \"c\"; expected one row for each item"),
        (of(&[1.0; 3], r#"{"c": 1}"#), "found ids in the metadata that are no list of texts in JSON ("),
        (
            of(&[1.0; 3], r#"["x", "y", "z"]"#),
            "found 3 rows, none of which is of an item of the data; expected the item ids",
        ),
    ] {
        let message = of_file("text.safetensors", &contents);
        assert!(message.starts_with("text.safetensors: found") && message.contains(expected), "{message}");
    }
    let doubles: Vec<u8> = [1.0, 2.0, 1e300].iter().flat_map(|x: &f64| x.to_le_bytes()).collect();
    let message = of_file("text.npy", npy("<f8", "(3, 1)", &doubles));
    assert!(
        message.contains("found 1e300 in row 2, column 0 (from 0); expected finite numbers of an f32"),
        "{message}"
    );
    let message = of_file("text.npy", npy("<f4", "(2, 1)", &bytes(&[1.0; 2])));
    assert!(message.contains("found 2 rows without ids, for 3 items; expected the ids in the metadata"), "{message}");
    // Items that are numbers count rows only where none is left over.
    let numbered =
        Folder::of("log.csv", "user,item\nu,1\nu,2\n").with("text.npy", npy("<f4", "(3, 1)", &bytes(&[1.0; 3])));
    assert!(numbered.complaint(numbered.vectors(Modality::Text)).contains("found 3 rows without ids, for 2 items"));
    let twice = Folder::new()
        .with("text.npy", npy("<f4", "(4, 1)", &bytes(&[1.0; 4])))
        .with("items.csv", "id,title\na,A\nb,B\nc,C\nb,D\n");
    assert!(twice.complaint(twice.vectors(Modality::Text)).contains("text.npy: found two rows for the item \"b\", by"));
    let both = Folder::new().with("text.npy", "").with("text.safetensors", "");
    assert!(
        both.complaint(both.vectors(Modality::Text))
            .starts_with("data.text is not set, and both text.safetensors and text.npy may be meant")
    );
    let missing = Folder::new().set(|config| config.text = Some("none.npy".into()));
    assert!(
        missing
            .complaint(missing.vectors(Modality::Text))
            .starts_with("none.npy: found no such file; expected embeddings of items")
    );
}

#[test]
fn raw_files_and_their_index() {
    let inter = "user_id:token\titem_id_list:token_seq\titem_id:token\nu\t0\t1\n";
    let of = |index: &str, contents: &[u8], width: Option<usize>| {
        let folder = Folder::of("x.train.inter", inter).with("x.item2index", index).with("x.feat3cls", contents);
        let folder = folder.set(|config| config.image_width = width);
        folder.complaint(folder.vectors(Modality::Image))
    };
    let good = "A\t0\nB\t1\n";
    for (index, contents, width, expected) in [
        (
            good,
            &[1; 12][..],
            None,
            "x.feat3cls: found 12 bytes; expected the same number of f32 for each of the 2 rows of x.item2index",
        ),
        (good, &[], None, "x.feat3cls: found 0 bytes"),
        (good, &bytes(&[1.0; 8]), Some(3), "found 32 bytes; expected the same number of vectors of 3 f32 for each"),
        ("A\t0\nB\t2\n", &[], None, "x.item2index: found the row 2 of 2 item ids; expected the rows 0, 1, 2, ..."),
        ("A\t0\nB\t0\n", &[], None, "x.item2index: found the row 0 twice; expected each row once"),
        ("A\t0\nA\t1\n", &[], None, "x.item2index:2: found \"A\\t1\"; expected each item id once"),
        ("A\t0\nB\n", &[], None, "x.item2index:2: found \"B\"; expected an item id, a tab and the number of its row"),
        ("A\t0\nB\t-1\n", &[], None, "x.item2index:2: found \"B\\t-1\"; expected an item id, a tab"),
        ("1\t0\n0\t1\n", &[], None, "x.item2index: found 2 items of the data that may be ids or rows"),
    ] {
        let message = of(index, contents, width);
        assert!(message.contains(expected), "{message}\nfor {expected}");
    }
    let strange = Folder::new().with("x.inter", "").with("x.item2index", good).with("items.csv", "id,title\na,A\n");
    let message = strange.complaint(strange.config.item_texts(&strange.data()));
    assert!(message.starts_with("x.item2index: found neither the id nor the row of any item of the data"), "{message}");
    let bare = Folder::new().with("vectors.bin", [1; 24]);
    let path = bare.path("vectors.bin");
    let bare = bare.set(|config| config.text = Some(path));
    assert!(
        bare.complaint(bare.vectors(Modality::Text))
            .contains("vectors.bin: found 24 bytes without a header; expected a .safetensors or .npy file")
    );
}

#[test]
fn tables() {
    let texts = |name: &str, contents: &[u8]| {
        let folder = Folder::new().with(name, contents);
        folder.complaint(folder.config.item_texts(&folder.data()))
    };
    for (name, contents, expected) in [
        (
            "items.csv",
            "id,title\na,A\nb,B\na,C\n",
            "items.csv:4: found a second row for the item \"a\", whose first is in line 2; expected one row",
        ),
        (
            "items.csv",
            "id,title\na,A\nb\n",
            "items.csv:3: found 1 fields, beginning \"b\"; expected as many fields as the header has",
        ),
        (
            "items.csv",
            "id,title\na,A\n,B\n",
            "items.csv:3:1: found nothing; expected an item id of 1 to 1024 bytes as id",
        ),
        (
            "items.csv",
            "id,title\nx,A\ny,B\n",
            "items.csv: found no row of an item of the data, by the ids in the column id",
        ),
        (
            "items.csv",
            "id,title\na, \nb,&nbsp;\n",
            "items.csv: found no item with a text; expected a text of one item at least",
        ),
        ("items.csv", "id,title,title\na,A,B\n", "items.csv:1:3: found the column \"title\" a second time"),
        ("items.json", "{\"asin\": \"a\", \"title\": \"A\"}\n{\"asin\": \"b\", \"title\"", "items.json:2:"),
        (
            "items.json",
            "{\"asin\": \"a\", \"title\": \"A\"}\n{\"title\": \"B\"}\n",
            "items.json:2:1: found nothing; expected an item id",
        ),
        ("items.json", "{\"asin\": \"a\", \"title\": \"A\", \"title\": \"B\"}\n", "items.json:1:"),
        ("items.parquet", "PAR1", "items.parquet: found what is no whole Parquet file (too short)"),
        ("items.csv", "", "items.csv: found an empty file"),
    ] {
        let message = texts(name, contents.as_bytes());
        assert!(message.starts_with(expected), "{message}\nfor {expected}");
    }
    let deep =
        format!("{{\"asin\": \"a\", \"title\": \"A\", \"category\": {}}}\n", "[".repeat(30_000) + &"]".repeat(30_000));
    assert!(texts("items.json", deep.as_bytes()).starts_with("items.json:1: found"), "deep lists");
    let missing = Folder::new().set(|config| config.items = Some("none.csv".into()));
    let message = missing.complaint(missing.config.item_texts(&missing.data()));
    assert_eq!(message, "none.csv: found no such file; expected a table of items");
    let prices = Folder::new().with("p.csv", "id,cost\na,1\n");
    let path = prices.path("p.csv");
    let prices = prices.set(|config| config.price = Some(path));
    let message = prices.complaint(prices.prices());
    assert!(
        message.starts_with(
            "p.csv:1: found the columns [\"id\", \"cost\"]; expected a column of prices (price, item_price)"
        ),
        "{message}"
    );
    let numbers = safetensors(&[("price", Dtype::F32, vec![3], bytes(&[1.0, -2.0, 3.0]))], Some(r#"["a", "b", "c"]"#));
    let negative = Folder::new().with("features.safetensors", numbers);
    assert!(
        negative
            .complaint(negative.prices())
            .contains("features.safetensors: found the price -2 in row 1; expected prices of at least 0")
    );
}

/// Changed bytes, pieces that are cut or doubled: read or refused, without a panic.
#[test]
fn mutants_are_read_or_refused() {
    let mask = ("text_missing", Dtype::U8, vec![3], vec![0, 1, 0]);
    let tensors = safetensors(&[("text", Dtype::F32, vec![3, 2], bytes(&[1.0; 6])), mask], Some(r#"["a", "b", "c"]"#));
    let json = br#"{"asin": "a", "title": "A &amp; B", "category": ["X", ["Y"]], "price": "$1.50"}
{"asin": "b", "title": null, "price": 2}
"#;
    let mut files = vec![
        ("text.safetensors", tensors),
        ("text.npy", npy("<f4", "(3, 2)", &bytes(&[1.0; 6]))),
        ("items.json", json.to_vec()),
        ("items.csv", b"asin,title,price,images\na,\"A, B\",$1,x.png|y.png\nb,,\"1.299,00 EUR\",\nc,C,,\n".to_vec()),
    ];
    #[cfg(feature = "parquet")]
    files.push(("items.parquet", parquet_table()));
    let (mut read, mut refused) = (0, 0);
    for (name, contents) in files {
        let folder = match name {
            "text.npy" => Folder::new().with("items.csv", "id,title\na,A\nb,B\nc,C\n"),
            _ => Folder::new(),
        };
        let data = folder.data();
        for number in 0..300 {
            let (mut stream, mut contents) = (Stream::new(1, name, number), contents.clone());
            for _ in 0..1 + stream.below(3) {
                let at = stream.below(contents.len() as u32) as usize;
                let end = (at + stream.below(20) as usize).min(contents.len());
                match stream.below(4) {
                    0 => contents[at] ^= 1 << stream.below(8),
                    1 => contents[at] = stream.below(256) as u8,
                    2 if at > 0 => contents.truncate(at),
                    _ => contents.extend_from_within(at..end),
                }
            }
            fs::write(folder.path(name), contents).unwrap();
            for result in [
                folder.config.item_texts(&data).map(drop),
                folder.config.item_prices(&data, None).map(drop),
                folder.config.item_images(&data).map(drop),
                folder.config.descriptions(&data).map(drop),
                folder.config.item_vectors_with(Modality::Text, &data, None, None).map(drop),
            ] {
                match result {
                    Ok(()) => read += 1,
                    Err(e) => {
                        assert_eq!(e.exit_code(), 2, "{e}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}
