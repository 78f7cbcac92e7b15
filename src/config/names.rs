//! What people call settings: the known key that an unknown one was meant for.

use super::Config;
use crate::error::plain;
use crate::models::MODELS;
use crate::models::{ModelConfig, ModelSpec};
use crate::settings::{self, Schema};
use std::collections::HashSet;

/// What else the field calls settings, in lower case without `_` and `-`.
const WORDS: &[(&str, &[&str])] = &[
    ("train.lr", &["learningrate", "stepsize", "baselr"]),
    ("train.epochs", &["epoch", "numepochs", "nepochs", "maxepochs"]),
    ("train.max_steps", &["steps", "numsteps", "totalsteps", "maxiterations"]),
    ("train.batch", &["batchsize", "trainbatchsize", "minibatch"]),
    ("train.accumulate", &["accumulationsteps", "gradientaccumulation", "gradientaccumulationsteps"]),
    ("train.weight_decay", &["l2", "l2emb", "l2reg", "reg", "wd", "regularization", "regweight"]),
    ("train.warmup", &["warmupsteps", "numwarmupsteps"]),
    ("train.patience", &["earlystop", "earlystopping", "stoppingstep"]),
    (
        "train.negatives",
        &[
            "numnegatives",
            "numneg",
            "nneg",
            "negsamples",
            "negativesamples",
            "numnegs",
            "trainnegsampleargs",
            "negsampling",
        ],
    ),
    ("train.clip", &["clipnorm", "gradclip", "maxgradnorm", "clipgradnorm"]),
    ("train.threads", &["worker", "workers", "numworkers"]),
    ("model.dim", &["embeddingdim", "embeddingsize", "embdim", "hiddensize", "hiddenunits", "dmodel"]),
    ("model.layers", &["numlayers", "nlayers", "numblocks", "depth"]),
    ("model.heads", &["numheads", "nheads", "attentionheads"]),
    ("model.dropout", &["dropoutrate", "dropoutprob", "hiddendropoutprob", "attndropoutprob", "dropoutratio"]),
    ("data.max_len", &["maxlength", "maxseqlen", "maxseqlength", "maxsequencelength", "maxitemlistlength", "seqlen"]),
    ("model.inner", &["innersize", "intermediatesize", "ffndim"]),
    ("model.hidden_share", &["maskratio", "maskprob"]),
    ("loss.kind", &["loss", "losstype", "lossfunction", "objective"]),
    ("eval.batch", &["evalbatchsize"]),
    ("eval.metric", &["validmetric"]),
    ("eval.every", &["evalstep"]),
    ("data.split", &["evalargs"]),
    ("data.path", &["dataset", "datapath", "datadir"]),
    ("data.columns.user", &["useridfield"]),
    ("data.columns.item", &["itemidfield"]),
    ("data.columns.time", &["timefield"]),
    ("data.columns.value", &["ratingfield"]),
    ("data.columns.delimiter", &["fieldseparator", "separator"]),
    ("data.min_user", &["userinternuminterval", "minuserinternum"]),
    ("data.min_item", &["iteminternuminterval", "miniteminternum"]),
    ("data.min_value", &["valinterval", "lowestval"]),
    ("device", &["gpuid", "usegpu", "cuda"]),
];

/// Words of RecBole for one setting with the same value: of several settings the first that the model has.
pub(super) const RECBOLE: &[(&str, &[&str])] = &[
    ("learning_rate", &["train.lr"]),
    ("train_batch_size", &["train.batch"]),
    ("eval_batch_size", &["eval.batch"]),
    ("eval_step", &["eval.every"]),
    ("epochs", &["train.epochs"]),
    ("weight_decay", &["train.weight_decay"]),
    ("valid_metric", &["eval.metric"]),
    ("MAX_ITEM_LIST_LENGTH", &["data.max_len"]),
    ("hidden_size", &["model.hidden", "model.dim"]),
    ("embedding_size", &["model.dim"]),
    ("inner_size", &["model.inner"]),
    ("n_layers", &["model.layers"]),
    ("num_layers", &["model.layers"]),
    ("n_heads", &["model.heads"]),
    ("hidden_dropout_prob", &["model.dropout"]),
    ("dropout_prob", &["model.dropout"]),
    ("dropout", &["model.dropout"]),
    ("mask_ratio", &["model.hidden_share"]),
    ("nh", &["model.horizontal_filters"]),
    ("nv", &["model.vertical_filters"]),
    ("pooling_type", &["model.pooling"]),
];

/// The word of RecBole's that is nearly `word`, if one is.
pub(super) fn nearest_word(word: &str) -> Option<&'static str> {
    let likeness = |known: &str| strsim::normalized_damerau_levenshtein(&plain(word), &plain(known));
    let near = RECBOLE.iter().map(|(known, _)| (likeness(known), *known)).filter(|(likeness, _)| *likeness > 0.75);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// The key of `schema` that `key` is another word for, if it is one.
pub(super) fn called(key: &str, schema: &Schema) -> Option<String> {
    let word = plain(own(key));
    let is_word = WORDS.iter().any(|(_, words)| words.contains(&word.as_str()));
    meant(key, &keys(schema)).filter(|_| is_word)
}

/// Sections in the order in which a name that several have is meant.
const SECTIONS: [&str; 7] = ["train", "model", "data", "loss", "eval", "log", "world"];

impl Config {
    /// The setting of any model that `name` means: its key, the last part of it, or another word for it, whatever `_` and
    /// `-` it is written with; of several the one in the section that `name` begins with, if any.
    pub fn setting_named(name: &str) -> Option<String> {
        meant(name, &all_keys())
    }
}

/// The keys of all settings of all models.
fn all_keys() -> Vec<String> {
    let of_model = |spec: &&'static ModelSpec| keys(&Config::with_model(ModelConfig::default_of(spec)).schema());
    let mut all: Vec<String> = MODELS.iter().flat_map(of_model).collect();
    let mut seen = HashSet::new();
    all.retain(|key| seen.insert(key.clone()));
    all
}

fn keys(schema: &Schema) -> Vec<String> {
    settings::leaves(schema).into_iter().map(|(key, _)| key).collect()
}

/// Which of `settings` `name` means.
fn meant(name: &str, settings: &[String]) -> Option<String> {
    let (section, last) = name.rsplit_once('.').unwrap_or(("", name));
    let word = plain(last);
    let wanted = WORDS.iter().find(|(_, words)| words.contains(&word.as_str())).map(|(key, _)| *key);
    let fits = |key: &str| plain(own(key)) == word || wanted.is_some_and(|wanted| own(wanted) == own(key));
    let place = |key: &str| {
        let of_key = key.strip_suffix(own(key)).unwrap_or_default().trim_end_matches('.');
        let rank = SECTIONS.iter().position(|known| of_key.starts_with(known)).unwrap_or(SECTIONS.len());
        (plain(of_key) != plain(section), wanted != Some(key), rank)
    };
    let found = settings.iter().filter(|key| fits(key)).min_by_key(|key| place(key));
    let whole = |text: &str| plain(text).replace('.', "");
    found.or_else(|| settings.iter().find(|key| whole(key) == whole(name))).cloned()
}

/// The last part of a key.
fn own(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or_default()
}

/// The key of `schema` nearest to `key`, if one is near.
pub(super) fn nearest(key: &str, schema: &Schema) -> Option<String> {
    let known = keys(schema);
    // Keys of a section are not near for its name's sake: their own names decide, and the whole decides between equals.
    let likeness = |known: &str| {
        let whole = strsim::normalized_damerau_levenshtein(key, known);
        let own = strsim::normalized_damerau_levenshtein(own(key), own(known));
        let nearer = if key.contains('.') { own } else { own.max(whole) };
        (nearer > 0.5).then_some(nearer + 0.1 * whole)
    };
    let by_likeness = || {
        let best = known.iter().filter_map(|key| Some((likeness(key)?, key)));
        best.reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|(_, key)| key.clone())
    };
    let by_word = || {
        let likeness = |word: &str| strsim::normalized_damerau_levenshtein(&plain(own(key)), word);
        let words = WORDS.iter().flat_map(|(_, words)| words.iter()).map(|word| (likeness(word), *word));
        let (_, word) = words.filter(|(likeness, _)| *likeness > 0.8).max_by(|a, b| a.0.total_cmp(&b.0))?;
        meant(word, &known)
    };
    meant(key, &known).or_else(by_likeness).or_else(by_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_go_by_the_words_of_the_field() {
        for (name, meant) in [
            ("epochs", "train.epochs"),
            ("lr", "train.lr"),
            ("learning-rate", "train.lr"),
            ("learning_rate", "train.lr"),
            ("train.learning_rate", "train.lr"),
            ("batch-size", "train.batch"),
            ("batch_size", "train.batch"),
            ("eval.batch-size", "eval.batch"),
            ("eval-batch", "eval.batch"),
            ("dim", "model.dim"),
            ("hidden_size", "model.dim"),
            ("max-len", "data.max_len"),
            ("maxlen", "data.max_len"),
            ("data.max_len", "data.max_len"),
            ("max-seq-length", "data.max_len"),
            ("num_heads", "model.heads"),
            ("num_blocks", "model.layers"),
            ("dropout_rate", "model.dropout"),
            ("loss", "loss.kind"),
            ("max-steps", "train.max_steps"),
            ("weight-decay", "train.weight_decay"),
            ("patience", "train.patience"),
            ("split", "data.split"),
            ("metric", "eval.metric"),
            ("world_seed", "world_seed"),
        ] {
            assert_eq!(Config::setting_named(name).as_deref(), Some(meant), "{name}");
        }
        for far in ["qqq", "", ".", "train.", "x.y"] {
            assert_eq!(Config::setting_named(far), None, "{far}");
        }
    }

    #[test]
    fn every_word_is_of_a_setting_and_of_one() {
        let settings = all_keys();
        let mut words: Vec<&str> = vec![];
        for (key, of_key) in WORDS {
            assert!(settings.iter().any(|known| known == key), "{key}");
            words.extend(of_key.iter());
        }
        for word in &words {
            assert_eq!((plain(word).as_str(), words.iter().filter(|other| *other == word).count()), (*word, 1));
            assert!(settings.iter().all(|known| plain(own(known)) != *word), "{word} is a setting itself");
        }
    }
}
