//! Configurations of RecBole (Zhao et al., CIKM 2021; <https://recbole.io>), word by word, as settings of this program.

use super::names::RECBOLE;
use crate::models::ModelSpec;
use serde_json::{Map, Value};
use std::path::Path;

/// What a word of a RecBole configuration has become.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// With dots, as in `eval_args.mode`.
    pub word: String,
    /// Its value in the file.
    pub found: String,
    /// The settings that it becomes.
    pub settings: Vec<(String, Value)>,
    /// Why there is no setting, or what else is to be known.
    pub note: String,
    /// Results are others than RecBole's because of it.
    pub differs: bool,
}

impl Line {
    /// A word that means the same here.
    pub(super) fn same(word: &str, value: &Value) -> Line {
        Line { word: word.to_string(), found: shown(value), ..set(word, value.clone()) }
    }

    /// Whether the setting has another value by this word.
    pub(super) fn contradicts(&self, setting: &str, value: &Value) -> bool {
        self.settings.iter().any(|(key, own)| key == setting && own != value)
    }
}

/// The words of a configuration: the words of one model are not always those of another.
pub(super) struct Words<'a> {
    pub all: &'a Map<String, Value>,
    pub spec: &'static ModelSpec,
}

/// Words whose values are read one by one, in [`Words::translate`].
const READ: [&str; 37] = [
    "model",
    "dataset",
    "data_path",
    "use_gpu",
    "learner",
    "train_neg_sample_args",
    "neg_sampling",
    "clip_grad_norm",
    "stopping_step",
    "eval_args",
    "repeatable",
    "metrics",
    "topk",
    "loss_type",
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "TIME_FIELD",
    "RATING_FIELD",
    "field_separator",
    "load_col",
    "unload_col",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "min_user_inter_num",
    "min_item_inter_num",
    "max_user_inter_num",
    "max_item_inter_num",
    "val_interval",
    "lowest_val",
    "highest_val",
    "rm_dup_inter",
    "attn_dropout_prob",
    "benchmark_filename",
    "reg_weight",
    "enable_amp",
    "valid_metric_bigger",
    "enable_scaler",
];

/// Words that change no result.
const NO_RESULT: [&str; 21] = [
    "state",
    "show_progress",
    "log_wandb",
    "wandb_project",
    "checkpoint_dir",
    "save_dataset",
    "dataset_save_path",
    "save_dataloaders",
    "dataloaders_save_path",
    "worker",
    "gpu_id",
    "reproducibility",
    "loss_decimal_place",
    "metric_decimal_place",
    "MODEL_TYPE",
    "MODEL_INPUT_TYPE",
    "seq_separator",
    "filter_inter_by_user_or_item",
    "normalize_field",
    "normalize_all",
    "config_file_list",
];

/// Names of columns that RecBole makes for itself, and what other kinds of models read.
const OTHERS_NAMES: [&str; 22] = [
    "LABEL_FIELD",
    "NEG_PREFIX",
    "ITEM_LIST_LENGTH_FIELD",
    "LIST_SUFFIX",
    "POSITION_FIELD",
    "HEAD_ENTITY_ID_FIELD",
    "TAIL_ENTITY_ID_FIELD",
    "RELATION_ID_FIELD",
    "ENTITY_ID_FIELD",
    "SOURCE_ID_FIELD",
    "TARGET_ID_FIELD",
    "threshold",
    "seq_len",
    "preload_weight",
    "fields_in_same_space",
    "additional_feat_suffix",
    "alias_of_user_id",
    "alias_of_item_id",
    "alias_of_entity_id",
    "alias_of_relation_id",
    "unused_col",
    "require_pow",
];

/// Parts of networks and samples that are not settings here.
const FIXED: [&str; 7] =
    ["hidden_act", "layer_norm_eps", "initializer_range", "transform", "ft_ratio", "augmentation", "train_stage"];

impl Words<'_> {
    /// Whether `word` is one of RecBole's.
    pub fn has(word: &str) -> bool {
        let lists: [&[&str]; 4] = [&READ, &NO_RESULT, &OTHERS_NAMES, &FIXED];
        RECBOLE.iter().any(|(known, _)| *known == word) || lists.iter().any(|list| list.contains(&word))
    }

    /// What `word` has become: a line, or one for each of its parts.
    pub fn translate(&self, word: &str) -> Vec<Line> {
        let value = &self.all[word];
        let line = |line: Line| Line { word: word.to_string(), found: shown(value), ..line };
        vec![line(match word {
            _ if value.is_null() => nothing("not given"),
            "eval_args" => return self.eval_args(value),
            "model" => nothing("the model that is trained"),
            "use_gpu" => set("device", if value == true { "auto" } else { "cpu" }),
            "dataset" => set("data.path", self.dataset(value)),
            "data_path" if self.all.contains_key("dataset") => nothing("in data.path"),
            "data_path" => nothing("dataset names no data in it"),
            "learner" => match text(value).as_str() {
                "adam" => nothing("always so here"),
                "adamw" => set("train.decoupled", true),
                _ => differs("Adam is used"),
            },
            "stopping_step" => {
                let every = self.all.get("eval_step").and_then(Value::as_u64).unwrap_or(1);
                match value.as_u64() {
                    Some(steps) => {
                        noted(set("train.patience", steps.saturating_mul(every)), "epochs here, evaluations there")
                    }
                    None => set("train.patience", value.clone()),
                }
            }
            "clip_grad_norm" => match value.get("max_norm") {
                Some(norm) if value.get("norm_type").is_none_or(|kind| kind == 2 || kind == 2.0) => {
                    set("train.clip", norm.clone())
                }
                _ => differs("gradients are clipped by their Euclidean norm alone (train.clip), here not at all"),
            },
            "train_neg_sample_args" | "neg_sampling" => negatives(word, value),
            "repeatable" => set("eval.mask_history", value == false),
            "metrics" | "topk" => nothing("`wgrec eval --metrics` prints others than those that are always reported"),
            "valid_metric_bigger" if value == true => nothing("always so here"),
            "valid_metric_bigger" => differs("more is better in every metric here"),
            "loss_type" => match text(value).as_str() {
                "CE" => set("loss.kind", "softmax"),
                "BPR" => set("loss.kind", "bpr"),
                _ => differs("the model's own loss is used; loss.kind changes it"),
            },
            "USER_ID_FIELD" => column("user", value, "user_id"),
            "ITEM_ID_FIELD" => column("item", value, "item_id"),
            "TIME_FIELD" => column("time", value, "timestamp"),
            "RATING_FIELD" => column("value", value, "rating"),
            "field_separator" => nothing("detected from the file"),
            "load_col" | "unload_col" => nothing("what is needed is read"),
            "user_inter_num_interval" | "min_user_inter_num" => at_least("data.min_user", value, true),
            "item_inter_num_interval" | "min_item_inter_num" => at_least("data.min_item", value, true),
            "max_user_inter_num" | "max_item_inter_num" => differs("there is no upper limit here"),
            "val_interval" | "lowest_val" => self.values(value),
            "highest_val" => differs("there is no upper limit of values here"),
            "rm_dup_inter" => match text(value).as_str() {
                "first" => set("data.dedup", "pair"),
                _ => differs("the first of repeated interactions is kept (data.dedup), here each"),
            },
            "attn_dropout_prob" if self.all.get("hidden_dropout_prob").is_none_or(|other| other == value) => {
                self.own(&["model.dropout"], value)
            }
            "attn_dropout_prob" => differs("model.dropout is that of attention weights too"),
            "benchmark_filename" => {
                differs("files that are split already are read as such where they lie side by side")
            }
            "reg_weight" if self.spec.has("ridge") => set("model.ridge", value.clone()),
            "reg_weight" => differs("train.weight_decay is the penalty here"),
            "enable_amp" if value == true => differs("precision = \"f16\" stores activations in half precision"),
            "enable_amp" | "enable_scaler" => nothing("see precision"),
            _ if NO_RESULT.contains(&word) => nothing("changes no result"),
            _ if OTHERS_NAMES.contains(&word) => nothing("not needed here"),
            _ if FIXED.contains(&word) => nothing("fixed here"),
            _ => match RECBOLE.iter().find(|(known, _)| *known == word) {
                Some((_, keys)) => self.own(keys, value),
                None => differs("neither RecBole nor wgrec has this word"),
            },
        })]
    }

    /// Words that are not in the file, and whose values in RecBole are others than here.
    pub fn not_given(&self) -> Option<Line> {
        let ranks_all = self.all.get("eval_args").and_then(|args| args.get("mode")).is_none_or(|mode| mode == "full");
        let word = "repeatable";
        let sequential = self.spec.loss.is_some();
        (sequential && ranks_all && !self.all.contains_key(word)).then(|| Line {
            word: word.to_string(),
            found: "not given, which is True in RecBole for sequential models,".to_string(),
            ..differs("the history is not ranked; --set eval.mask_history=false ranks it")
        })
    }

    /// The first of `keys` that the model has.
    fn own(&self, keys: &[&str], value: &Value) -> Line {
        let has = |key: &&&str| key.strip_prefix("model.").is_none_or(|own| self.spec.has(own));
        match keys.iter().find(has) {
            Some(key) => set(key, value.clone()),
            None => nothing(&format!("{} has no such setting", self.spec.name)),
        }
    }

    fn dataset(&self, name: &Value) -> Value {
        let (name, below) = (text(name), self.all.get("data_path").map_or("dataset".to_string(), text));
        let folder = Path::new(&below).join(&name);
        let path = if folder.exists() { folder } else { name.into() };
        path.to_string_lossy().into_owned().into()
    }

    /// Limits of the values of columns, as `{rating: "[3,inf)"}` or `{rating: 3}`.
    fn values(&self, value: &Value) -> Line {
        let rating = self.all.get("RATING_FIELD").map_or("rating".to_string(), text);
        match value.as_object().map(|columns| columns.iter().collect::<Vec<_>>()).as_deref() {
            Some([(column, limit)]) if **column == rating => at_least("data.min_value", limit, false),
            _ => differs("of the values, a least one of the rating is a setting here (data.min_value)"),
        }
    }

    fn eval_args(&self, value: &Value) -> Vec<Line> {
        let Some(parts) = value.as_object() else {
            let line = differs("expected group_by, order, split and mode");
            return vec![Line { word: "eval_args".to_string(), found: shown(value), ..line }];
        };
        let grouped = parts.get("group_by").is_none_or(|group| group == "user");
        let part = |(name, value): (&String, &Value)| {
            let line = match name.as_str() {
                _ if value.is_null() => nothing("not given"),
                "split" => split(value, grouped),
                "order" if value == "TO" => nothing("always so here"),
                "order" => differs("events are ordered by time"),
                "group_by" if value == "user" || value == "none" => nothing("in data.split"),
                "mode" => match value.as_object() {
                    None => mode(value),
                    Some(both) => match (both.get("valid"), both.get("test")) {
                        (Some(valid), Some(test)) if valid == test => mode(test),
                        (_, test) => {
                            let line = mode(test.unwrap_or(&Value::Null));
                            Line { differs: true, note: "the same in validation and test here".to_string(), ..line }
                        }
                    },
                },
                _ => differs("not read here"),
            };
            Line { word: format!("eval_args.{name}"), found: shown(value), ..line }
        };
        parts.iter().map(part).collect()
    }
}

fn set(key: &str, value: impl Into<Value>) -> Line {
    Line { settings: vec![(key.to_string(), value.into())], ..Line::default() }
}

fn noted(line: Line, note: &str) -> Line {
    Line { note: note.to_string(), ..line }
}

fn nothing(why: &str) -> Line {
    noted(Line::default(), why)
}

fn differs(how: &str) -> Line {
    Line { differs: true, ..nothing(how) }
}

/// A value as YAML has it.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn shown(value: &Value) -> String {
    if value.is_null() { "~".to_string() } else { text(value) }
}

/// A column, unless it has the name that is recognised anyway, or must not be there.
fn column(role: &str, value: &Value, usual: &str) -> Line {
    match value == usual {
        true => nothing("recognised by its name"),
        false => set(&format!("data.columns.{role}"), text(value)),
    }
}

/// The lower end of an interval, as `"[5,inf)"` or `5`. `whole`: it counts something.
fn at_least(key: &str, value: &Value, whole: bool) -> Line {
    let Some(interval) = value.as_str() else { return set(key, value.clone()) };
    let parse = || {
        let (open, rest) = interval.trim().split_at_checked(1)?;
        let (least, rest) = rest.split_once(',')?;
        let most = rest.trim().strip_suffix([')', ']'])?;
        let (least, most): (f64, f64) = (least.trim().parse().ok()?, most.trim().parse().ok()?);
        let excluded = open == "(";
        ["[", "("].contains(&open).then_some((least, excluded, most))
    };
    let number = |x: f64| if whole { Value::from(x.max(0.0) as u64) } else { Value::from(x) };
    match parse() {
        Some((least, excluded, most)) if least.is_finite() && (whole || !excluded) => {
            let least = if excluded {
                least.floor() + 1.0
            } else if whole {
                least.ceil()
            } else {
                least
            };
            let line = set(key, number(least));
            match most.is_finite() {
                true => Line { differs: true, ..noted(line, "there is no upper limit here") },
                false => line,
            }
        }
        Some((least, _, most)) if least == f64::NEG_INFINITY && most.is_infinite() => nothing("no limit"),
        _ => differs("expected one interval with a lower end, as in \"[5,inf)\""),
    }
}

fn negatives(word: &str, value: &Value) -> Line {
    let parts = match (word, value.as_object()) {
        (_, None) if value == "None" => return nothing("the loss draws none, or wgrec's number"),
        (_, None) => return differs("expected distribution and sample_num"),
        // {uniform: 1}
        ("neg_sampling", Some(old)) => old.iter().next().map(|(kind, n)| (kind.clone(), n.clone(), None)),
        (_, Some(new)) => {
            let kind = new.get("distribution").map_or("uniform".to_string(), text);
            if kind == "none" {
                return nothing("the loss draws none, or wgrec's number");
            }
            let n = new.get("sample_num").cloned().unwrap_or(Value::from(1));
            Some((kind, n, new.get("alpha").cloned()))
        }
    };
    let Some((kind, n, alpha)) = parts else { return nothing("not given") };
    let mut line = set("train.negatives", n);
    let sampler = match kind.as_str() {
        "uniform" => Value::from("uniform"),
        "popularity" => serde_json::json!({ "popularity": alpha.unwrap_or(Value::from(1.0)) }),
        _ => return Line { differs: true, ..noted(line, "negatives are drawn uniformly or by popularity") },
    };
    line.settings.push(("train.sampler".to_string(), sampler));
    match value.get("dynamic").is_some_and(|dynamic| dynamic == true) {
        true => Line { differs: true, ..noted(line, "negatives are not chosen by the model") },
        false => line,
    }
}

/// `{LS: valid_and_test}` or `{RS: [0.8, 0.1, 0.1]}`. `grouped`: by user.
fn split(value: &Value, grouped: bool) -> Line {
    let parts = value.as_object().map(|parts| parts.iter().collect::<Vec<_>>());
    match parts.as_deref() {
        Some([(kind, how)]) if *kind == "LS" => match *how == "valid_and_test" || **how == 2 {
            true => set("data.split", "leave-one-out"),
            false => Line {
                differs: true,
                ..noted(set("data.split", "leave-one-out"), "validation and test are one event each")
            },
        },
        Some([(kind, shares)]) if *kind == "RS" => {
            let shares: Option<Vec<f64>> = shares.as_array().map(|all| all.iter().filter_map(Value::as_f64).collect());
            match shares.as_deref() {
                Some([train, valid, test]) if train + valid + test > 0.0 => {
                    let sum = train + valid + test;
                    let kind = if grouped { "ratio" } else { "time" };
                    let [train, valid, test] = [train, valid, test].map(|share| (share / sum * 1e6).round() / 1e6);
                    set("data.split", format!("{kind}:{train},{valid},{test}"))
                }
                _ => differs("expected shares of training, validation and test; data.split stays"),
            }
        }
        _ => differs("expected LS or RS; data.split stays"),
    }
}

/// `full`, `uni100`, `pop100` or `labeled`.
fn mode(value: &Value) -> Line {
    let word = text(value);
    let count = |kind: &str| word.strip_prefix(kind).and_then(|n| n.parse::<u64>().ok());
    match (word.as_str(), count("uni"), count("pop")) {
        ("full", ..) => set("eval.protocol", "full"),
        (_, Some(n), _) => set("eval.protocol", format!("sampled:{n}")),
        (_, _, Some(n)) => {
            let line = set("eval.protocol", format!("sampled:{n}"));
            Line { differs: true, ..noted(line, "drawn uniformly here, not by popularity") }
        }
        _ => differs("expected full, uniN or popN; eval.protocol stays"),
    }
}
