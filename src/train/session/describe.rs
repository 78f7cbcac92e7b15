//! What a session is about, for people, for metrics.json, and for those who compare runs.

use super::Session;
use crate::data::{Descriptions, Part};
use crate::error::{Error, Result};
use crate::eval::{Protocol, TieRule};
use crate::models::tasks::{self, TaskConfig};
use indicatif::HumanCount;
use serde_json::{Value, json};

impl Session {
    /// The data set, its split and how targets are ranked, in one line.
    pub fn describe_data(&self) -> String {
        self.describe_asked(&self.split.describe(&self.data))
    }

    /// As [`Session::describe_data`]; `asked`: what is asked for, in words.
    pub fn describe_asked(&self, asked: &str) -> String {
        let (name, data) = (&self.corpus.name, &self.data);
        let counts = [data.users(), data.items(), data.interactions()].map(|n| HumanCount(n as u64));
        let [users, items, events] = counts;
        format!("{name}: {users} users, {items} items, {events} events; {asked}; {}", self.describe_ranking())
    }

    /// The descriptions of the items, and a line that says where they come from or why ids are shown.
    pub fn descriptions(&self) -> (Option<Descriptions>, String) {
        let Session { config, data, corpus, .. } = self;
        if let Some(world) = corpus.clicks_of() {
            return (
                Some(Descriptions::of_world(world, data)),
                "genres of the embedded world; ids are shown".to_string(),
            );
        }
        match config.data.descriptions(data) {
            Ok(Some(descriptions)) => {
                let file = descriptions.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
                (Some(descriptions), file)
            }
            Ok(None) => (None, "no file next to the data describes its items; ids are shown".to_string()),
            Err(e) => (None, format!("{e}; ids are shown")),
        }
    }

    /// How targets are ranked, in words.
    pub fn describe_ranking(&self) -> String {
        let eval = &self.config.eval;
        let history = match self.split.target() {
            Some(target) => format!("items of {}", self.data.behaviour_names()[target as usize]),
            None => "history".to_string(),
        };
        let among = match eval.protocol {
            _ if self.split.has_classes() => format!("among {} classes", self.split.classes(&self.data)),
            Protocol::Sampled(n) => format!("ranked among {n} items outside the {history} (seed {})", eval.seed),
            Protocol::Batch(n) => format!(
                "ranked among the targets of {n} users outside the {history} (drawn by seed {}; of the test the last batch has {})",
                eval.seed,
                (self.split.targets(&self.data, Part::Test).count().max(1) - 1) % n + 1
            ),
            Protocol::Full if eval.mask_history => format!("full ranking, {history} masked"),
            Protocol::Full => "full ranking, history not masked".to_string(),
        };
        match eval.ties {
            TieRule::Average => among,
            ties => format!("{among}, ties {ties}"),
        }
    }

    /// # Errors
    /// What ranks of this session's model and the `other`'s would differ in, apart from the models: they cannot be paired then.
    pub fn check_comparable(&self, other: &Session) -> Result<()> {
        let [a, b] = [self, other].map(Session::circumstances);
        let mut apart = vec![];
        if a["data"]["fingerprint"] != b["data"]["fingerprint"] {
            let name = |c: &Value| {
                let data = &c["data"];
                format!(
                    "{} ({} users, {} items, {} events)",
                    data["name"], data["users"], data["items"], data["interactions"]
                )
            };
            apart.push(format!("data: {} and {}", name(&a), name(&b)));
        }
        let mut differ = |keys: &[&str], same: fn(&Value, &Value) -> bool| {
            let keys = keys.iter().filter(|&&key| !same(&a[key], &b[key]));
            let before = apart.len();
            apart.extend(keys.map(|key| format!("{key}: {} and {}", a[key], b[key])));
            apart.len() > before
        };
        let asked = differ(&["split", "target", "cut", "ranked", "task"], |a, b| a == b);
        let known = |a: &Value, b: &Value| a == b || a.is_null() || b.is_null();
        let ranked = differ(&["protocol", "candidates_seed", "history_masked", "ties"], known);
        if ranked && !asked && a["data"]["fingerprint"] == b["data"]["fingerprint"] {
            apart.push("--protocol full, or sampled:N, ranks all in one way".to_string());
        }
        if apart.is_empty() { Ok(()) } else { Err(Error::Usage(apart.join("; "))) }
    }

    /// What is next to every metric in metrics.json.
    pub fn circumstances(&self) -> Value {
        let Session { config, data, corpus, .. } = self;
        let mut all = json!({
            "model": self.model.name(),
            "data": {
                "name": self.corpus.name,
                "users": data.users(),
                "items": data.items(),
                "interactions": data.interactions(),
                "fingerprint": data.fingerprint(),
            },
            "split": config.data.split.to_string(),
            "behaviours": config.data.behaviours,
            "target": config.data.target,
            "cut": config.data.cut.map(|share| json!({"share": share, "by": config.data.cut_by})),
            "learn": config.data.learn,
            "ranked": config.eval.targets,
            "phase": self.phase_name(),
            "protocol": config.eval.protocol.to_string(),
            // What is drawn lies outside the history, masked or not.
            "candidates_seed": (config.eval.protocol != Protocol::Full).then_some(config.eval.seed),
            "history_masked": (config.eval.protocol == Protocol::Full).then_some(config.eval.mask_history),
            "ties": config.eval.ties.to_string(),
            "device": self.device.describe(),
            "seed": config.seed,
            "parameters": self.model.params().elements(),
            "tuned_parameters": self.tuned(),
            "wgrec": env!("CARGO_PKG_VERSION"),
        });
        if let Some(task) = &self.phase().task {
            let TaskConfig { name, fits, label, split, .. } = &task.config;
            let users =
                (!task.tasks.this().of_events()).then(|| json!({"split": split, "seed": task.tasks.this().seed}));
            let cut = self.config.tasks().map(|all| tasks::cutting(&all));
            all["task"] = json!({"name": name, "where": fits, "label": label, "users": users, "cut": cut});
        }
        if !corpus.known.about.is_empty() {
            all["item_features"] = json!(corpus.known.about);
        }
        all
    }
}
