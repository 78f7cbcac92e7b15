//! A world as ordinary files, and back: RecBole's atomic files, features and truth as safetensors, settings as TOML.

use super::events::{Behaviour, Event};
use super::{BayesAccuracy, Domain, DomainName, Geometry, Interest, User, World, WorldConfig, log_scores};
use crate::error::{Error, Result};
use crate::files::{is_running, is_temporary, replace, replace_folder};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const README: &str = include_str!("folder.md");
const SETTINGS: &str = "world.toml";

/// What `world.toml` holds: enough to draw the world again.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Version of wgrec that drew the world.
    wgrec: String,
    seed: u64,
    domains: Vec<String>,
    config: WorldConfig,
}

/// What `truth.json` holds.
#[derive(Serialize)]
struct Truth<'a> {
    seed: u64,
    bayes_accuracy: BayesAccuracy,
    domains: serde_json::Map<String, serde_json::Value>,
    geometry: &'a Geometry,
}

impl World {
    /// Writes the world into the folder `dir`, which then holds all of it or is as it was. An older world in `dir` is
    /// replaced; a folder that holds anything else is refused.
    ///
    /// The layout is described in the README.md that is written along.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let name =
            dir.file_name().ok_or_else(|| Error::Usage(format!("{}: name a folder to be made", dir.display())))?;
        refuse_foreign(dir)?;
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent, "make"))?;
        }
        replace_folder(dir, |new| self.write_all(new))?;
        remove_earlier(dir, &name.to_string_lossy());
        Ok(())
    }

    /// Draws a written world again, with all its truth.
    pub fn open(dir: &Path) -> Result<World> {
        let path = dir.join(SETTINGS);
        let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
        let settings: Settings = toml::from_str(&text).map_err(|e| Error::Input {
            line: e.span().map(|s| 1 + text[..s.start].matches('\n').count() as u64),
            path,
            column: None,
            found: e.message().to_string(),
            expected: "the settings of an embedded world".to_string(),
        })?;
        let domains: Vec<_> = settings.domains.iter().map(|d| DomainName::from_name(d)).collect::<Result<_>>()?;
        World::with_domains(&settings.config, settings.seed, &domains)
    }

    fn write_all(&self, dir: &Path) -> Result<()> {
        make(dir)?;
        put(dir.join("README.md"), README)?;
        let settings = Settings {
            wgrec: env!("CARGO_PKG_VERSION").to_string(),
            seed: self.shared.seed,
            domains: self.domains.iter().map(|d| d.name.name().to_string()).collect(),
            config: self.shared.config.clone(),
        };
        put(dir.join(SETTINGS), toml::to_string(&settings).expect("settings are TOML"))?;
        let counts = |d: &Domain| {
            let counts = serde_json::json!({
                "users": d.users.len(), "items": d.items.len(), "clicks": d.clicks().user.len(), "events": d.events.len(),
            });
            (d.name.name().to_string(), counts)
        };
        let truth = Truth {
            seed: self.shared.seed,
            bayes_accuracy: self.bayes_accuracy(),
            domains: self.domains.iter().map(counts).collect(),
            geometry: &self.shared.geometry,
        };
        put(dir.join("truth.json"), serde_json::to_string_pretty(&truth).expect("the truth is JSON"))?;
        self.domains.iter().try_for_each(|d| d.write(&dir.join(d.name.name())))
    }
}

/// Removes folders next to `dir` that earlier versions were preparing, or about to remove, when they were killed.
fn remove_earlier(dir: &Path, name: &str) {
    for entry in dir.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten().flatten() {
        let beside = entry.file_name().to_string_lossy().into_owned();
        let rest = beside.strip_prefix('.').and_then(|rest| rest.strip_prefix(name));
        let pid = rest.and_then(|rest| rest.strip_prefix(".new-").or(rest.strip_prefix(".old-")));
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !is_running(pid)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Refuses a folder that holds anything but a world.
fn refuse_foreign(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let mut names = vec![];
    for entry in fs::read_dir(dir).map_err(Error::io(dir, "list"))? {
        names.push(entry.map_err(Error::io(dir, "list"))?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !is_temporary(name));
    let known = |n: &str| [SETTINGS, "README.md", "truth.json"].contains(&n) || DomainName::from_name(n).is_ok();
    let foreign = if names.iter().any(|n| n == SETTINGS) { names.iter().find(|n| !known(n)) } else { names.first() };
    match foreign {
        None => Ok(()),
        Some(name) => Err(Error::Usage(format!(
            "{}: the folder holds {name:?}, which is no part of a world; name a new or empty folder, or a world to replace",
            dir.display()
        ))),
    }
}

impl Domain {
    fn write(&self, dir: &Path) -> Result<()> {
        make(dir)?;
        put(dir.join("events.inter"), self.inter(|_| true, true))?;
        put(dir.join("clicks.inter"), self.inter(|e| e.behaviour == Behaviour::Click, false))?;

        let mut text = "item_id:token\tgenre:token\tprice:float\n".to_string();
        for (i, item) in self.items.iter().enumerate() {
            let price = item.price.map(|p| p.to_string()).unwrap_or_default();
            writeln!(text, "{}\t{}\t{price}", i + 1, item.group).expect("a String takes all");
        }
        put(dir.join("events.item"), text)?;

        let mut text = "user_id:token\tage:token\tgender:token\toccupation:token\n".to_string();
        for (u, user) in self.users.iter().enumerate() {
            writeln!(text, "{}\t{}\t{}\t{}", u + 1, user.age, user.gender, user.occupation)
                .expect("a String takes all");
        }
        put(dir.join("events.user"), text)?;
        self.features().put(dir.join("features.safetensors"))?;
        self.truth().put(dir.join("truth.safetensors"))
    }

    fn inter(&self, keep: impl Fn(&Event) -> bool, behaviour: bool) -> String {
        let column = if behaviour { "behavior:token\t" } else { "" };
        let mut text = format!("user_id:token\titem_id:token\t{column}timestamp:float\trating:float\n");
        for e in self.events.iter().filter(|e| keep(e)) {
            let behaviour = if behaviour { format!("{}\t", e.behaviour.name()) } else { String::new() };
            writeln!(text, "{}\t{}\t{behaviour}{}\t{}", e.user, e.item, e.time, e.rating).expect("a String takes all");
        }
        text
    }

    fn features(&self) -> Tensors {
        let config = &self.shared.config;
        let mut out = Tensors::default();
        let n = self.items.len();
        let text = self.items.iter().map(|i| i.text.as_deref());
        let image = self.items.iter().map(|i| i.image.as_deref());
        for (name, width, rows) in [
            ("text", config.text_width, text.collect::<Vec<_>>()),
            ("image", config.image_width, image.collect::<Vec<_>>()),
        ] {
            let zeros = vec![0.0; width];
            out.add(name, &[n, width], rows.iter().flat_map(|row| row.unwrap_or(&zeros).iter().copied()));
            out.add(&format!("{name}_missing"), &[n], rows.iter().map(|row| row.is_none() as u8));
        }
        out.add("price", &[n], self.items.iter().map(|i| i.price.unwrap_or(0.0)));
        out.add("price_missing", &[n], self.items.iter().map(|i| i.price.is_none() as u8));
        out
    }

    fn truth(&self) -> Tensors {
        let config = &self.shared.config;
        let (users, items, half) = (&self.users, &self.items, config.dim / 2);
        let (n, u, most) = (items.len(), users.len(), config.interest_counts.len());
        let mut out = Tensors::default();
        out.add("item.cluster", &[n], items.iter().map(|i| i.cluster as i32));
        out.add("item.vector", &[n, config.dim], items.iter().flat_map(|i| i.vector.iter().copied()));
        out.add("item.popularity", &[n], items.iter().map(|i| i.popularity));
        out.add("item.successor", &[n], items.iter().map(|i| i.successor as i32 + 1));
        out.add("item.cold", &[n], items.iter().map(|i| i.cold as u8));

        out.add("user.interests", &[u], users.iter().map(|u| u.interests.len() as i32));
        out.add("interest.cluster", &[u, most], self.by_interest(-1, |i| i.cluster as i32));
        out.add("interest.wide", &[u, most], self.by_interest(0, |i| i.wide as u8));
        out.add("interest.weight", &[u, most], self.by_interest(0.0, |i| i.weight));
        out.add("interest.birth", &[u, most], self.by_interest(1.0, |i| i.birth));
        out.add("interest.death", &[u, most], self.by_interest(1.0, |i| i.death));
        out.add("user.length", &[u], users.iter().map(|u| u.length as i32));
        out.add("user.dominant_group", &[u], users.iter().map(|u| u.dominant_group as i32));
        out.add("user.propensity", &[u], users.iter().map(|u| u.propensity));
        out.add("user.text_taste", &[u, half], users.iter().flat_map(|u| u.text_taste.iter().copied()));
        out.add("user.image_taste", &[u, half], users.iter().flat_map(|u| u.image_taste.iter().copied()));
        out.add("user.price_taste", &[u], users.iter().map(|u| u.price_taste));

        let events = &self.events;
        out.add("event.interest", &[events.len()], events.iter().map(|e| e.interest.map_or(-1, i32::from)));
        out.add("event.noise", &[events.len()], events.iter().map(|e| e.noise() as u8));
        out.add("event.alive", &[events.len()], events.iter().map(|e| e.alive));

        let last_two: Vec<[Vec<f32>; 2]> = (0..u).into_par_iter().map(|user| self.last_two(user)).collect();
        for (at, name) in ["oracle.valid", "oracle.test"].into_iter().enumerate() {
            out.add(name, &[u, n], last_two.iter().flat_map(|scores| &scores[at]).copied());
        }
        out
    }

    /// The oracle on the last click but one and on the last of a user (from 0), \[items\] each.
    fn last_two(&self, user: usize) -> [Vec<f32>; 2] {
        let mut walk = self.walk(user);
        walk.by_ref().take(self.users[user].kinds.len() - 2).for_each(drop);
        [(); 2].map(|_| {
            let scores = log_scores(walk.probabilities().expect("two clicks are left"));
            walk.next();
            scores
        })
    }

    /// \[users, most interests\]: a number of each interest, `none` where a user has no more.
    fn by_interest<T: Copy>(&self, none: T, of: impl Fn(&Interest) -> T) -> Vec<T> {
        let most = self.shared.config.interest_counts.len();
        let of = |user: &User, k: usize| user.interests.get(k).map_or(none, &of);
        self.users.iter().flat_map(|u| (0..most).map(|k| of(u, k)).collect::<Vec<_>>()).collect()
    }
}

/// Tensors on their way into one file.
#[derive(Default)]
struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

/// A number as a safetensors file has it.
trait Number {
    const DTYPE: Dtype;
    fn bytes(self) -> impl IntoIterator<Item = u8>;
}

macro_rules! number {
    ($($type:ty => $dtype:ident),*) => { $(
        impl Number for $type {
            const DTYPE: Dtype = Dtype::$dtype;
            fn bytes(self) -> impl IntoIterator<Item = u8> {
                self.to_le_bytes()
            }
        }
    )* };
}
number!(u8 => U8, i32 => I32, f32 => F32, f64 => F64);

impl Tensors {
    fn add<T: Number>(&mut self, name: &str, shape: &[usize], values: impl IntoIterator<Item = T>) {
        let bytes = values.into_iter().flat_map(T::bytes).collect();
        self.0.push((name.to_string(), T::DTYPE, shape.to_vec(), bytes));
    }

    fn put(&self, path: PathBuf) -> Result<()> {
        let views = self.0.iter().map(|(name, dtype, shape, bytes)| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("the shape fits the values"))
        });
        put(path, safetensors::serialize(views, None).expect("the tensors can be laid out"))
    }
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir(dir).map_err(Error::io(dir, "make"))
}

fn put(path: PathBuf, contents: impl AsRef<[u8]>) -> Result<()> {
    replace(&path, |out| out.write_all(contents.as_ref()))
}
