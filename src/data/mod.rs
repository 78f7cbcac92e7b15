//! From files to batches, one direction: readers -> filter, split -> data set (CSR), cache -> samples in batches.

pub mod ask;
pub mod attributes;
pub mod auxiliary;
pub mod cache;
pub mod categories;
pub mod dataset;
pub mod features;
pub mod filter;
mod held_out;
pub mod ids;
pub mod items;
pub mod known;
pub mod negatives;
mod questions;
pub mod readers;
pub mod samples;
pub mod serving;
pub mod split;
pub mod statistics;
pub mod summary;
pub mod synth;
pub mod tasks;

pub use ask::{Ask, ListedItems};
pub use attributes::Attributes;
pub use auxiliary::Auxiliary;
pub use cache::Cache;
pub use categories::Categories;
pub use dataset::{Catalogue, Dataset, HeldOut};
pub use features::Features;
pub use filter::{Dedup, Filter, Ties};
pub use ids::Ids;
pub use items::{
    Coverage, Description, Descriptions, Images, ItemSummary, Modality, PriceScale, Prices, Scaling, Texts, Vectors,
};
pub use negatives::{LeftOut, Sampler};
pub use readers::{Clock, Columns, Format, Interactions, SkipBad};
pub use samples::{
    Batch, BatchSpec, EvalBatch, EvalBatches, EvalSpec, Padding, Reads, Samples, TrainBatches, Until, Views, Visit,
    Visits,
};
pub use serving::{Histories, HistoryFile};
pub use split::{Cut, CutBy, Group, Learn, Part, Split, SplitKind, SplitSpec};
pub use statistics::Statistics;
pub use summary::Summary;

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use synth::Domain;

/// Settings under `data.` in a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// A file or folder of interactions, or the name of a known data set that was fetched; none for the embedded world.
    pub path: Option<PathBuf>,
    /// Data sets to pre-train on: paths or names as in `path`, or tables with a path, a `name` and settings of this section about how a
    /// data set is read. None, and no `path`: domains A to D of the embedded world.
    pub auxiliary: Vec<Auxiliary>,
    /// Detected from the contents if not given.
    pub format: Option<Format>,
    /// Which column means what, where the header does not say.
    pub columns: Columns,
    /// How many rows that do not parse are left out: a number, or `all`. One more is an error.
    pub skip_bad: SkipBad,
    /// Items of a window: the last `max_len` before the target.
    #[schemars(range(min = 1, max = 1048576))]
    pub max_len: usize,
    /// Users with fewer interactions are dropped.
    pub min_user: u32,
    /// Items with fewer interactions are dropped.
    pub min_item: u32,
    /// Interactions of a smaller value are dropped.
    pub min_value: Option<f32>,
    /// Which repeated events are dropped.
    pub dedup: Dedup,
    /// The order of events of one time.
    pub ties: Ties,
    /// How histories are split: `leave-one-out`, `ratio:80,10,10` or `time:0.8,0.1,0.1`.
    #[schemars(with = "String")]
    pub split: SplitKind,
    /// Behaviours that are read, in their order; none named: all of the data (of the embedded world only the clicks, unless a
    /// behaviour is predicted).
    pub behaviours: Vec<String>,
    /// The behaviour that is predicted; not given: every event is a target.
    pub target: Option<String>,
    /// Share of the events that are earlier ones: what pre-training learns from. Users are evaluated whose targets all come later.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub cut: Option<f64>,
    /// Whether the cut is one point in time, or one in each user's history.
    pub cut_by: CutBy,
    /// Which events of the training part are learned to predict.
    pub learn: Learn,
    /// Users that are learned from: the first of the data; the others are evaluated alone. Not given: all.
    #[schemars(range(min = 1))]
    pub learn_users: Option<usize>,
    /// Share of the items that are held out: they keep what is known of them and are test targets, but no history has one. Not given:
    /// none.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub hold_out_items: Option<f64>,
    /// Seed by which these are drawn, kept apart so that runs of several seeds are judged on the same.
    #[schemars(range(max = 9223372036854775807u64))]
    pub hold_out_seed: u64,
    /// Columns of the attribute file of users that are features of them; if not given, all of few categories.
    pub attributes: Option<Vec<String>>,
    /// Bins that an attribute of numbers is cut into, of about as many users each.
    #[schemars(range(min = 1, max = 1024))]
    pub bins: usize,
    /// Which items there are.
    pub catalogue: Catalogue,
    /// A table of items: titles, brands, categories, prices; if not given, the one next to the interactions.
    pub items: Option<PathBuf>,
    /// The column of that table with the item ids of the interactions; if not given, the usual one.
    pub item_id: Option<String>,
    /// Columns that are joined to the text of an item; if not given, title, text, brand and categories as far as they are there.
    pub text_columns: Option<Vec<String>>,
    /// Ready embeddings of texts: .safetensors, .npy, or raw floats by .item2index.
    pub text: Option<PathBuf>,
    /// Ready embeddings of texts that have lost words, likewise; for models that compare both.
    pub text_dropped: Option<PathBuf>,
    /// Ready embeddings of images, likewise.
    pub image: Option<PathBuf>,
    /// Numbers of an image's embedding, where a raw file has several images an item; if not given, an item has one.
    #[schemars(range(min = 1))]
    pub image_width: Option<usize>,
    /// A folder of image files that are called as the items' ids; if not given, `images` next to the interactions.
    pub images: Option<PathBuf>,
    /// A table with prices, or a file of numbers; if not given, the table of items.
    pub price: Option<PathBuf>,
    /// The column of prices; if not given, the usual one.
    pub price_column: Option<String>,
    /// The currency whose prices count, by its ISO code; if not given, all prices must be in one.
    pub currency: Option<String>,
    /// How prices are scaled to 0 to 100.
    pub price_scale: Scaling,
    /// The share of the prices after which higher ones are taken as the price there.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1.0))]
    pub price_clip: f64,
}

impl Default for DataConfig {
    fn default() -> DataConfig {
        DataConfig {
            path: None,
            auxiliary: vec![],
            format: None,
            columns: Columns::default(),
            skip_bad: SkipBad::NONE,
            max_len: 50,
            min_user: 0,
            min_item: 0,
            min_value: None,
            dedup: Dedup::Event,
            ties: Ties::File,
            split: SplitKind::LeaveOneOut,
            behaviours: vec![],
            target: None,
            cut: None,
            cut_by: CutBy::Time,
            learn: Learn::Targets,
            learn_users: None,
            hold_out_items: None,
            hold_out_seed: 1,
            attributes: None,
            bins: 8,
            catalogue: Catalogue::Interactions,
            items: None,
            item_id: None,
            text_columns: None,
            text: None,
            text_dropped: None,
            image: None,
            image_width: None,
            images: None,
            price: None,
            price_column: None,
            currency: None,
            price_scale: Scaling::Minmax,
            price_clip: 1.0,
        }
    }
}

impl DataConfig {
    pub fn filter(&self) -> Filter {
        let DataConfig { min_value, dedup, min_user, min_item, ties, .. } = *self;
        let parts = self.split == SplitKind::LeaveOneOut;
        Filter { behaviours: self.behaviours.clone(), min_value, dedup, min_user, min_item, ties, parts }
    }

    /// Reads `path`: from the cache if its contents were read before with the same settings, else from the file.
    ///
    /// # Errors
    /// [`Error::Input`] for whatever is wrong with the file; [`Error::Usage`] if no interaction is left or `path` is not set.
    /// A cache that cannot be written, or whose image has changed since it was, is no error: a note says so.
    pub fn load(&self) -> Result<Dataset> {
        let path = self.path.as_ref().ok_or_else(|| Error::Usage("data.path is not set".to_string()))?;
        self.load_with(&known::resolve(path)?, Cache::usual().as_ref())
    }

    /// The same with a given cache, or none.
    pub fn load_with(&self, path: &Path, cache: Option<&Cache>) -> Result<Dataset> {
        let mut data = self.load_interactions(path, cache)?;
        if self.catalogue == Catalogue::Features {
            let more = data.add_items(items::ids(self, path, &data)?);
            data.note(format!("catalogue: {} that no interaction has", crate::text::counted(more, "item")));
        }
        self.hold_out(data)
    }

    fn load_interactions(&self, path: &Path, cache: Option<&Cache>) -> Result<Dataset> {
        let source = readers::locate(path, self.format, &self.columns)?;
        let filter = self.filter();
        let file = cache.map(|cache| cache.file(&source, &self.columns, self.skip_bad, &filter)).transpose()?;
        let mut changed = None;
        if let (Some(cache), Some(file)) = (cache, &file) {
            cache.sweep();
            match cache.open(file) {
                Ok(Some(dataset)) => return Ok(dataset),
                Ok(None) => {}
                Err(e) => changed = Some(format!("{e}; read from the source again")),
            }
        }
        let mut data = readers::read(&source, &self.columns, self.skip_bad)?;
        filter.check(&data).map_err(|e| match e {
            Error::Usage(problem) => Error::Usage(format!("{}: {problem}", path.display())),
            other => other,
        })?;
        let mut notes = vec![format!(
            "{}: {} interactions of {} users and {} items",
            source.format,
            data.len(),
            data.user_names.len(),
            data.item_names.len()
        )];
        notes.append(&mut data.notes);
        if data.unended {
            notes.push(
                "the last line has no line break; were it cut inside its last field, nothing would show it".into(),
            );
        }
        notes.extend(known::recognise(&source.files[0], &data));
        notes.extend(filter.apply(&mut data));
        if data.is_empty() {
            let notes = notes.join("; ");
            return Err(Error::Usage(format!("{}: no interaction is left: {notes}", path.display())));
        }
        notes.extend(questions::about(&data));
        let mut dataset = Dataset::new(data, filter.ties, notes);
        if let (Some(cache), Some(file)) = (cache, &file)
            && let Err(e) = cache.store(file, &dataset, &source.files[0])
        {
            dataset.note(format!("not cached: {e}"));
        }
        changed.into_iter().for_each(|note| dataset.note(note));
        Ok(dataset)
    }

    /// Categories of `data`'s items: their genres in a table of items.
    pub fn categories(&self, data: &Dataset) -> Result<Option<Categories>> {
        Ok(self.descriptions(data)?.and_then(|descriptions| Categories::of(&descriptions, data)))
    }

    /// The same, or those of the embedded `world`.
    pub fn item_categories(&self, data: &Dataset, world: Option<&Domain>) -> Result<Option<Categories>> {
        match world {
            Some(world) => Ok(Categories::of(&Descriptions::of_world(world, data), data)),
            None => self.categories(data),
        }
    }

    /// Attributes of `data`'s users, from a file next to it: see [`Attributes::beside`].
    pub fn user_attributes(&self, data: &Dataset) -> Result<Option<Attributes>> {
        let Some(path) = &self.path else { return Ok(None) };
        Attributes::beside(&known::resolve(path)?, data, self)
    }
}
