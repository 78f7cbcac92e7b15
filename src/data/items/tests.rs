//! Files of items, read as users have them.

mod refused;

use super::*;
use crate::data::Catalogue;
use crate::data::synth::{World, WorldConfig};
use ::safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::fs;
use tempfile::TempDir;

/// A folder with interactions of the items a, b, c (or those given), in which further files are put.
struct Folder {
    folder: TempDir,
    config: DataConfig,
}

impl Folder {
    fn new() -> Folder {
        Folder::of("log.csv", "user,item\nu,a\nu,b\nu,c\n")
    }

    fn of(name: &str, interactions: &str) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let config = DataConfig { path: Some(folder.path().join(name)), ..DataConfig::default() };
        Folder { folder, config }.with(name, interactions)
    }

    fn with(self, name: &str, contents: impl AsRef<[u8]>) -> Folder {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
        self
    }

    fn set(mut self, set: impl FnOnce(&mut DataConfig)) -> Folder {
        set(&mut self.config);
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> Dataset {
        self.config.load_with(self.config.path.as_ref().unwrap(), None).unwrap()
    }

    fn texts(&self) -> Vec<Option<String>> {
        self.config.item_texts(&self.data()).unwrap().unwrap().of
    }

    fn prices(&self) -> Result<Option<Prices>> {
        self.config.item_prices(&self.data(), None)
    }

    /// Kept in a cache within the folder.
    fn vectors(&self, modality: Modality) -> Result<Option<Vectors>> {
        let cache = Cache { folder: self.path("cache") };
        self.config.item_vectors_with(modality, &self.data(), None, Some(&cache))
    }

    fn some_vectors(&self, modality: Modality) -> Vectors {
        self.vectors(modality).unwrap().unwrap()
    }

    /// The error's message after the folder.
    fn complaint<T>(&self, result: Result<T>) -> String {
        let error = result.err().expect("an error");
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(!self.path("cache").is_dir() || fs::read_dir(self.path("cache")).unwrap().count() == 0, "{error}");
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// All rows as f32, row 0 too.
fn rows(vectors: &Vectors) -> Vec<Vec<f32>> {
    let row = |item: usize| {
        let mut out = vec![9.0; vectors.width];
        vectors.read(item as u32, &mut out);
        out
    };
    (0..=vectors.items()).map(row).collect()
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_of(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"), data)
}

fn npy_of(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

type Tensor<'a> = (&'a str, Dtype, Vec<usize>, Vec<u8>);

fn safetensors(tensors: &[Tensor], ids: Option<&str>) -> Vec<u8> {
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    let metadata = ids.map(|ids| HashMap::from([("ids".to_string(), ids.to_string())]));
    ::safetensors::serialize(views, metadata).unwrap()
}

#[test]
fn tables_of_every_form_give_texts() {
    let a = "Salt & Pepper. Acme. Kitchen, Mills";
    let json = r#"{"asin": "a", "title": "Salt &amp;\nPepper", "brand": "Acme", "category": ["Kitchen", "Mills"], "price": "$1"}
{"asin": "b", "title": "", "brand": "", "category": []}
{"asin": "c", "title": "C", "also_buy": ["x"]}
{"asin": "z", "title": "Z"}
"#;
    let newer = r#"{"parent_asin": "a", "title": "Salt &amp; Pepper", "store": "Acme", "categories": ["Kitchen", "Mills"], "price": 1.5}
{"parent_asin": "b", "title": null, "store": null, "categories": [], "price": null}
{"parent_asin": "c", "title": "C"}
"#;
    let python = "{'asin': 'a', 'title': \"Salt & Pepper\", 'brand': 'Acme', 'categories': [['Kitchen', 'Mills']]}\n{'asin': 'c', 'title': 'C'}\n";
    for (name, contents) in [
        ("items.json", json),
        ("items.jsonl", newer),
        ("meta_log.json", python),
        ("items.csv", "item_id,title,brand,categories\na,\"Salt &amp;\r\nPepper\",Acme,Kitchen|Mills\nb,, ,\nc,C,,\n"),
        ("items.tsv", "title\tsku\tstore\tgenres\nSalt &amp; Pepper\ta\tAcme\t'Kitchen', 'Mills'\nC\tc\t\t\n"),
    ] {
        let folder = Folder::new().with(name, contents);
        assert_eq!(folder.texts(), [Some(a.to_string()), None, Some("C".to_string())], "{name}");
    }
    let packed = {
        let mut out = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        std::io::Write::write_all(&mut out, newer.as_bytes()).unwrap();
        out.finish().unwrap()
    };
    let reviews = "{\"reviewerID\": \"u\", \"asin\": \"a\"}\n{\"reviewerID\": \"u\", \"asin\": \"c\"}\n";
    let folder = Folder::of("Gifts_5.json", reviews).with("meta_Gifts.json.gz", packed).with("meta_Other.json", json);
    assert_eq!(folder.texts()[0].as_deref(), Some(a));
    let atomic = "item_id:token\tclass:token_seq\tmovie_title:token_seq\nb\tComedy Noir\tToy \"Story\n";
    let folder = Folder::of("x.inter", "user_id:token\titem_id:token\nu\ta\nu\tb\n").with("x.item", atomic);
    assert_eq!(folder.texts(), [None, Some("Toy \"Story. Comedy Noir".to_string())]);
}

/// A table of Parquet: a and b, of which b has neither title nor price, in two row groups.
#[cfg(feature = "parquet")]
fn parquet_table() -> Vec<u8> {
    use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType};
    use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
    type Levels<'a> = Option<&'a [i16]>;
    fn write<T: DataType>(column: &mut SerializedColumnWriter, values: &[T::T], levels: Levels, repeats: Levels) {
        column.typed::<T>().write_batch(values, levels, repeats).unwrap();
    }
    let schema = "message x { required binary asin (UTF8); optional binary title (UTF8); optional double price; optional group \
                  categories (LIST) { repeated group list { required binary element (UTF8); } } }";
    let schema = parquet::schema::parser::parse_message_type(schema).unwrap();
    let texts = |texts: &[&str]| texts.iter().map(|text| ByteArray::from(*text)).collect::<Vec<_>>();
    let mut out = vec![];
    let mut writer = SerializedFileWriter::new(&mut out, schema.into(), Default::default()).unwrap();
    for (id, title, price, categories) in [("a", &["A &lt; B"][..], &[1.5][..], &["X", "Y"][..]), ("b", &[], &[], &[])]
    {
        let mut group = writer.next_row_group().unwrap();
        let mut put = |write: &dyn Fn(&mut SerializedColumnWriter)| {
            let mut column = group.next_column().unwrap().unwrap();
            write(&mut column);
            column.close().unwrap();
        };
        let there = [title.len() as i16];
        let (levels, repeats) = if categories.is_empty() { (&[0][..], &[0][..]) } else { (&[2, 2][..], &[0, 1][..]) };
        put(&|column| write::<ByteArrayType>(column, &texts(&[id]), None, None));
        put(&|column| write::<ByteArrayType>(column, &texts(title), Some(&there), None));
        put(&|column| write::<DoubleType>(column, price, Some(&there), None));
        put(&|column| write::<ByteArrayType>(column, &texts(categories), Some(levels), Some(repeats)));
        group.close().unwrap();
    }
    writer.close().unwrap();
    out
}

#[cfg(feature = "parquet")]
#[test]
fn a_table_may_be_parquet() {
    let folder = Folder::new().with("items.parquet", parquet_table());
    assert_eq!(folder.texts(), [Some("A < B. X, Y".to_string()), None, None]);
    assert_eq!(folder.prices().unwrap().unwrap().of, [Some(1.5), None, None]);
    let folder = folder.set(|config| config.text_columns = Some(vec!["title".to_string()]));
    assert_eq!(folder.texts()[0].as_deref(), Some("A < B"));
}

#[test]
fn data_sets_in_one_folder_have_their_own_files() {
    let header = "user_id:token\titem_id:token\n";
    let table = |title: &str| format!("item_id:token\ttitle:token_seq\na\t{title}\n");
    let folder = Folder::of("x.inter", &format!("{header}u\ta\n")).with("y.inter", header);
    let folder = folder.with("x.item", table("X")).with("y.item", table("Y"));
    assert_eq!(folder.texts(), [Some("X".to_string())]);
    let other = folder.path("y.inter");
    let folder = folder.with("y.inter", format!("{header}u\ta\n")).set(|config| config.path = Some(other));
    assert_eq!(folder.texts(), [Some("Y".to_string())]);
}

#[test]
fn columns_and_tables_can_be_named() {
    let table = "a_id,b_id,title,note\nx,a,T,N\ny,b,,M\n";
    let folder = Folder::new().with("elsewhere/t.csv", table);
    let items = folder.path("elsewhere/t.csv");
    let folder = folder.set(|config| {
        config.items = Some(items);
        config.item_id = Some("b_id".to_string());
    });
    assert_eq!(folder.texts(), [Some("T".to_string()), None, None]);
    let folder = folder.set(|config| config.text_columns = Some(vec!["note".to_string(), "title".to_string()]));
    assert_eq!(folder.texts(), [Some("N. T".to_string()), Some("M".to_string()), None]);
    let folder = folder.set(|config| config.text_columns = Some(vec!["notes".to_string()]));
    let message = folder.complaint(folder.config.item_texts(&folder.data()));
    assert!(message.contains("data.text_columns: found \"notes\"; expected a column of elsewhere/t.csv"), "{message}");
    assert!(message.contains("did you mean \"note\"?"), "{message}");
    let folder = folder.set(|config| config.item_id = Some("a_id".to_string()));
    let folder = folder.set(|config| config.text_columns = None);
    let message = folder.complaint(folder.config.item_texts(&folder.data()));
    assert!(message.contains("found no row of an item of the data, by the ids in the column a_id"), "{message}");
}

#[test]
fn prices_are_in_one_currency_and_scaled() {
    let table =
        |prices: [&str; 4]| format!("id,price\na,{}\nb,{}\nc,{}\nz,{}\n", prices[0], prices[1], prices[2], prices[3]);
    let folder = Folder::new().with("items.csv", table(["$12.50", ".a{}", "$2 - $3", "$1"]));
    let prices = folder.prices().unwrap().unwrap();
    assert_eq!((&prices.of[..], prices.currency.as_deref()), (&[Some(12.5), None, Some(2.5)][..], Some("USD")));
    let scale = prices.scale(&folder.config);
    assert_eq!([2.5, 7.5, 12.5, 99.0, 0.0].map(|price| scale.scaled(price)), [0.0, 50.0, 100.0, 100.0, 0.0]);
    let logged = DataConfig { price_scale: Scaling::Log, ..folder.config.clone() };
    let expected = 100.0 * (8.5f64.ln() - 3.5f64.ln()) / (13.5f64.ln() - 3.5f64.ln());
    assert!((prices.scale(&logged).scaled(7.5) - expected).abs() < 1e-12);
    let clipped = DataConfig { price_clip: 0.4, ..folder.config.clone() };
    assert_eq!(prices.scale(&clipped).scaled(99.0), 0.0);

    let folder = Folder::new().with("items.csv", table(["$1", "2 €", "3", "4"]));
    let message = folder.complaint(folder.prices());
    assert!(
        message.starts_with("items.csv:3: found a price in EUR, after one in USD in line 2; expected prices in one"),
        "{message}"
    );
    let folder = folder.set(|config| config.currency = Some("EUR".to_string()));
    let prices = folder.prices().unwrap().unwrap();
    assert_eq!((&prices.of[..], prices.currency.as_deref()), (&[None, Some(2.0), Some(3.0)][..], Some("EUR")));
    let named = "id,cost,currency\na,1,USD\nb,2,GBP\nc,x,USD\n";
    let folder = Folder::new().with("items.csv", named);
    assert_eq!(folder.prices().unwrap(), None);
    let folder = folder.set(|config| config.price_column = Some("cost".to_string()));
    assert!(folder.complaint(folder.prices()).contains("items.csv:3: found a price in GBP"));
    let folder = folder.set(|config| config.currency = Some("GBP".to_string()));
    assert_eq!(folder.prices().unwrap().unwrap().of, [None, Some(2.0), None]);
    let none = Folder::new().with("items.csv", table(["x", "", "y", "$1"]));
    assert!(none.complaint(none.prices()).contains("items.csv: found no item with a price"));
}

#[test]
fn embeddings_of_every_form_are_rows_by_item() {
    // Rows of b, z, a, in this order; that of z belongs to no item.
    let numbers = [1.0, 2.0, 9.0, 9.0, 0.0, -3.0];
    let wanted = [[0.0, 0.0], [0.0, -3.0], [1.0, 2.0], [0.0, 0.0]];
    let halves: Vec<u8> = numbers.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
    let doubles: Vec<u8> = numbers.iter().flat_map(|&x| (x as f64).to_le_bytes()).collect();
    let ids = Some(r#"["b", "z", "a"]"#);
    let table = ("items.csv", "id,title\nb,B\nz,Z\na,A\n");
    let full = ("mask", Dtype::U8, vec![3], vec![1, 1, 1]);
    let files = [
        ("text.safetensors", safetensors(&[("embeddings", Dtype::F32, vec![3, 2], bytes(&numbers)), full], ids), false),
        ("text.safetensors", safetensors(&[("text", Dtype::F16, vec![3, 2], halves.clone())], ids), true),
        ("text.safetensors", safetensors(&[("x", Dtype::F64, vec![3, 2], doubles.clone())], ids), false),
        ("text.npy", npy("<f4", "(3, 2)", &bytes(&numbers)), false),
        ("text.npy", npy("<f2", "(3, 2)", &halves), true),
        ("text.npy", npy("<f8", "(3, 1, 2)", &doubles), false),
    ];
    let mut hashes = vec![];
    for (name, contents, is_half) in files {
        let folder = Folder::new().with(name, contents).with(table.0, table.1);
        let vectors = folder.some_vectors(Modality::Text);
        assert_eq!((rows(&vectors), vectors.width), (wanted.map(|row| row.to_vec()).to_vec(), 2), "{name}");
        assert_eq!(vectors.missing, [true, false, false, true], "{name}");
        assert_eq!(matches!(vectors.numbers(), Numbers::F16(_)), is_half, "{name}");
        assert_eq!(vectors.coverage(), Coverage { items: 3, missing: 1 });
        // The second time it is read from the cache, and without one it is made in memory.
        let kept =
            || fs::read_dir(folder.path("cache")).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let [file] = &kept()[..] else { panic!("{:?}", kept()) };
        let written = fs::metadata(file).unwrap().len();
        let again = folder.some_vectors(Modality::Text);
        let in_memory = folder.config.item_vectors_with(Modality::Text, &folder.data(), None, None).unwrap().unwrap();
        for other in [&again, &in_memory] {
            assert_eq!((rows(other), &other.hash, &other.missing), (rows(&vectors), &vectors.hash, &vectors.missing));
        }
        assert!(
            Cache { folder: folder.path("cache") }.kept()[0].about.starts_with("text embeddings, 3 items x 2, of ")
        );
        // A change of any byte is found, and the rows are made again.
        for at in [0, written / 2, written - 1] {
            let mut changed = fs::read(file).unwrap();
            changed[at as usize] ^= 1;
            fs::remove_file(file).unwrap();
            fs::write(file, changed).unwrap();
            assert_eq!(rows(&folder.some_vectors(Modality::Text)), rows(&vectors));
        }
        hashes.push(vectors.hash.clone());
    }
    assert!(hashes[0] == hashes[2] && hashes[0] == hashes[3] && hashes[1] == hashes[4] && hashes[0] != hashes[1]);
    let other = Folder::new()
        .with("text.npy", npy("<f4", "(3, 2)", &bytes(&[1.0, 2.0, 9.0, 9.0, 0.0, -3.5])))
        .with(table.0, table.1);
    assert_ne!(other.some_vectors(Modality::Text).hash, hashes[0]);
}

#[test]
fn several_images_are_averaged_without_zeros() {
    let numbers: [f64; 12] = [1.0, 2.0, 0.0, 0.0, 3.0, 6.0, /* next */ 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let doubles: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let index = ("x.item2index", "B\t1\nA\t0\n");
    let inter = "user_id:token\titem_id_list:token_seq\titem_id:token\nu\t0\t1\n";
    let by_row = || Folder::of("x.train.inter", inter).with(index.0, index.1);
    let raw = by_row().with("x.feat3CLS", &doubles).set(|config| config.image_width = Some(2));
    let shaped = by_row().with("image.npy", npy("<f8", "(2, 3, 2)", &doubles));
    for folder in [raw, shaped] {
        let vectors = folder.some_vectors(Modality::Image);
        assert_eq!((&vectors.missing[..], vectors.width), (&[true, false, true][..], 2));
        assert_eq!(rows(&vectors)[1], [2.0, 4.0]);
    }
    let one = by_row().with("x.feat3CLS", &doubles);
    assert_eq!(one.some_vectors(Modality::Image).width, 6);
    let single = by_row().with("x.feat1CLS", bytes(&[0.1, 0.2, 0.3, 0.4]));
    assert_eq!(rows(&single.some_vectors(Modality::Text)), [[0.0, 0.0], [0.1, 0.2], [0.3, 0.4]]);
    // Raw f64 are told from f32 by their bits, though most are zeros.
    for (first, numbers) in [(0, 24), (1 << 18, 24), (0, 8)] {
        let of = |at: usize| if at >= first && matches!(at % 4, 1 | 2) { 0.1 + at as f64 / 7.0 } else { 0.0 };
        let numbers: Vec<f64> = (0..first + numbers).map(of).collect();
        let doubles = numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
        let singles = bytes(&numbers.iter().map(|&x| x as f32).collect::<Vec<_>>());
        for raw in [doubles, singles] {
            let vectors = by_row().with("x.feat1CLS", raw).some_vectors(Modality::Text);
            assert_eq!(vectors.width, numbers.len() / 2);
            let last: Vec<f32> = numbers[numbers.len() - 4..].iter().map(|&x| x as f32).collect();
            assert_eq!(rows(&vectors)[2][vectors.width - 4..], last);
        }
    }
    // Texts are by the ids of the index, and so is what is called as interactions call items.
    let texts = by_row().with("x.text", "item_id:token\ttext:token_seq\nB\tb &lt; c\nA\t\n");
    assert_eq!(texts.texts(), [None, Some("b < c".to_string())]);
    for ids in [r#"["1", "0"]"#, r#"["B", "A"]"#] {
        let rows_of = by_row()
            .with("text.safetensors", safetensors(&[("text", Dtype::F32, vec![2, 1], bytes(&[7.0, 8.0]))], Some(ids)));
        assert_eq!(rows(&rows_of.some_vectors(Modality::Text)), [[0.0], [8.0], [7.0]], "{ids}");
    }
}

#[test]
fn a_written_world_is_that_of_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::generate(&WorldConfig { users: 60, ..WorldConfig::default() }, 3).unwrap();
    world.write(&folder.path().join("world")).unwrap();
    for file in ["clicks.inter", "events.inter"] {
        let path = folder.path().join("world/default").join(file);
        let config = DataConfig { path: Some(path.clone()), ..DataConfig::default() };
        let data = config.load_with(&path, None).unwrap();
        assert!(data.items() < world.domains[0].items.len());
        for modality in [Modality::Text, Modality::Image] {
            let read = config.item_vectors_with(modality, &data, None, None).unwrap().unwrap();
            let drawn = config.item_vectors(modality, &data, Some(&world.domains[0])).unwrap().unwrap();
            assert_eq!((rows(&read), &read.missing, &read.hash), (rows(&drawn), &drawn.missing, &drawn.hash));
            assert!(drawn.coverage().missing > 0 && drawn.width == 64);
        }
        let read = config.item_prices(&data, None).unwrap().unwrap();
        let drawn = config.item_prices(&data, Some(&world.domains[0])).unwrap().unwrap();
        // Text has the shortest decimals of an f32.
        let rounded = |prices: &Prices| prices.of.iter().map(|price| price.map(|x| x as f32)).collect::<Vec<_>>();
        assert!(rounded(&read) == rounded(&drawn) && read.of.len() == data.items());
    }
}

#[test]
fn the_catalogue_may_be_that_of_the_features() {
    let folder = Folder::new().with("items.csv", "id,title\nz,Z\nb,B\ny,Y\n");
    let plain = folder.data();
    let folder = folder.set(|config| config.catalogue = Catalogue::Features);
    let data = folder.data();
    let names: Vec<&str> = (1..=data.items() as u32).map(|item| data.item_name(item)).collect();
    assert_eq!(names, ["a", "b", "c", "z", "y"]);
    assert_ne!(data.fingerprint(), plain.fingerprint());
    assert_eq!(data.all_items(), plain.all_items());
    assert_eq!(data.notes().last().unwrap(), "catalogue: 2 items that no interaction has");
    assert_eq!(folder.texts()[3].as_deref(), Some("Z"));
    let none = Folder::new().set(|config| config.catalogue = Catalogue::Features);
    let refused = none.config.load_with(none.config.path.as_ref().unwrap(), None);
    assert!(none.complaint(refused).starts_with("data.catalogue: found features; expected a table of items"));
    let config = DataConfig { catalogue: Catalogue::Features, ..DataConfig::default() };
    let (data, world, _) = config.load_world(&WorldConfig { users: 30, ..WorldConfig::default() }, 1).unwrap();
    assert_eq!(data.items(), world.items.len());
}

#[test]
fn image_files_are_found_by_the_ids() {
    let folder = Folder::new();
    let files = ["b.PNG", "c/2.jpg", "c/10.jpg", "c/notes.txt", "a_10.jpg", "a_2.webp", "z.png", "a.txt"];
    let folder = files.iter().fold(folder, |folder, file| folder.with(&format!("images/{file}"), "x"));
    let images = folder.config.item_images(&folder.data()).unwrap().unwrap();
    let of = |files: &[&str]| files.iter().map(|file| folder.path("images").join(file)).collect::<Vec<_>>();
    assert_eq!(images.of, [of(&["a_2.webp", "a_10.jpg"]), of(&["b.PNG"]), of(&["c/2.jpg", "c/10.jpg"])]);
    let table = "id,images\na,pic/1.png|pic/2.png|pic/none.png\nb,https://x.org/b.png\nc,\n";
    let folder = Folder::new().with("items.csv", table).with("pic/1.png", "").with("pic/2.png", "");
    let images = folder.config.item_images(&folder.data()).unwrap().unwrap();
    assert_eq!(images.of, [vec![folder.path("pic/1.png"), folder.path("pic/2.png")], vec![], vec![]]);
    let addresses = Folder::new().with("items.csv", "id,images\na,https://x.org/b.png\n");
    assert_eq!(addresses.config.item_images(&addresses.data()).unwrap(), None);
    let strange = Folder::new().with("images/q.png", "");
    assert!(strange.complaint(strange.config.item_images(&strange.data())).contains("found no image file of an item"));
}
