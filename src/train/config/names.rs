//! What people call settings: the known key that an unknown one was meant for.

use super::Config;
use crate::error::plain;
use crate::models::MODELS;
use crate::models::{ModelConfig, ModelSpec};
use crate::settings::{self, Schema};
use std::collections::HashSet;

/// What else the field calls settings, in lower case without `_` and `-`.
const WORDS: [(&str, &[&str]); 17] = [
    ("train.lr", &["learningrate", "stepsize", "baselr"]),
    ("train.epochs", &["epoch", "numepochs", "nepochs", "maxepochs"]),
    ("train.max_steps", &["steps", "numsteps", "totalsteps", "maxiterations"]),
    ("train.batch", &["batchsize", "trainbatchsize", "minibatch"]),
    ("train.accumulate", &["accumulationsteps", "gradientaccumulation", "gradientaccumulationsteps"]),
    ("train.weight_decay", &["l2", "l2emb", "l2reg", "reg", "wd", "regularization"]),
    ("train.warmup", &["warmupsteps", "numwarmupsteps"]),
    ("train.patience", &["earlystop", "earlystopping", "stoppingstep"]),
    ("train.negatives", &["numnegatives", "numneg", "nneg", "negsamples", "negativesamples", "numnegs"]),
    ("train.clip", &["clipnorm", "gradclip", "maxgradnorm", "clipgradnorm"]),
    ("train.threads", &["workers", "numworkers"]),
    ("model.dim", &["embeddingdim", "embeddingsize", "embdim", "hiddensize", "hiddenunits", "dmodel"]),
    ("model.layers", &["numlayers", "nlayers", "numblocks", "depth"]),
    ("model.heads", &["numheads", "nheads", "attentionheads"]),
    ("model.dropout", &["dropoutrate", "dropoutprob", "hiddendropoutprob", "dropoutratio"]),
    ("data.max_len", &["maxlength", "maxseqlen", "maxseqlength", "maxsequencelength", "maxitemlistlength", "seqlen"]),
    ("loss.kind", &["loss", "losstype", "lossfunction", "objective"]),
];

/// Sections in the order in which a name that several have is meant.
const SECTIONS: [&str; 7] = ["train", "model", "data", "loss", "eval", "log", "world"];

impl Config {
    /// The setting that `name` stands for, of any model: its key, the last part of it, or another word for it, whatever `_` and
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

/// Of `settings`, the one that `name` stands for.
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
    meant(key, &known).or_else(by_likeness)
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
            words.extend(of_key);
        }
        for word in &words {
            assert_eq!((plain(word).as_str(), words.iter().filter(|other| *other == word).count()), (*word, 1));
            assert!(settings.iter().all(|known| plain(own(known)) != *word), "{word} is a setting itself");
        }
    }
}
