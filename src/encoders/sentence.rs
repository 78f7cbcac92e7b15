//! What sentence-transformers' files say of a folder: where its model is, and how hidden states become one vector.

use super::{json, shortened, wrong};
use crate::error::{Error, Result};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// How the hidden states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pooling {
    /// The hidden state of the first token
    Cls,
    /// The mean over all tokens, the first and the last among them
    Mean,
}

/// What the files of a folder say; a plain model's say nothing.
#[derive(Debug, Default, PartialEq)]
pub struct Sentence {
    /// The folder of the model itself.
    pub model: PathBuf,
    pub pooling: Option<Pooling>,
    /// Vectors are divided by their length.
    pub normalize: bool,
    /// Tokens of a text, the first and the last among them.
    pub max_length: Option<usize>,
    /// Texts are lowercased before they are cut into tokens.
    pub lowercase: bool,
}

impl Sentence {
    /// Reads modules.json and the files that it leads to, sentence_bert_config.json, and the length in tokenizer_config.json.
    ///
    /// # Errors
    /// A file that cannot be read; a module or a pooling that is not known; a prompt that is put before texts.
    pub fn read(folder: &Path) -> Result<Sentence> {
        let mut sentence = Sentence { model: folder.to_path_buf(), ..Sentence::default() };
        let modules = folder.join("modules.json");
        if modules.is_file() {
            sentence.read_modules(folder, &modules)?;
        }
        let length = |file: &str, key: &str| -> Result<Option<usize>> {
            let path = sentence.model.join(file);
            if !path.is_file() {
                return Ok(None);
            }
            match &json(&path)?[key] {
                Value::Null => Ok(None),
                // Tokenizers without a limit have one of 1e30.
                value => match value.as_f64().filter(|length| *length >= 1.0) {
                    Some(length) => Ok(Some(length as usize)),
                    None => Err(wrong(&path, format!("{key} {value}"), "a number of tokens")),
                },
            }
        };
        let own = "sentence_bert_config.json";
        sentence.max_length = match length(own, "max_seq_length")? {
            None => length("tokenizer_config.json", "model_max_length")?,
            some => some,
        };
        let own = sentence.model.join(own);
        if own.is_file() {
            sentence.lowercase = json(&own)?["do_lower_case"] == true;
        }
        refuse_prompt(&folder.join("config_sentence_transformers.json"))?;
        Ok(sentence)
    }

    fn read_modules(&mut self, folder: &Path, path: &Path) -> Result<()> {
        let read = json(path)?;
        let Some(modules) = read.as_array() else {
            return Err(wrong(path, "no list", "a list of modules"));
        };
        for module in modules {
            let kind = module["type"].as_str().unwrap_or_default();
            let at = within(folder, module["path"].as_str().unwrap_or_default())
                .ok_or_else(|| wrong(path, format!("the path {}", module["path"]), "folders within the model's"))?;
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => self.model = at,
                "Pooling" => self.pooling = Some(pooling(&at.join("config.json"))?),
                "Normalize" => self.normalize = true,
                _ => {
                    let found = format!("a module {}", shortened(&module["type"].to_string()));
                    return Err(wrong(path, found, "Transformer, Pooling and Normalize alone"));
                }
            }
        }
        Ok(())
    }
}

/// A folder below `folder`; none where the path leads elsewhere.
fn within(folder: &Path, path: &str) -> Option<PathBuf> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| if path.is_empty() { folder.to_path_buf() } else { folder.join(path) })
}

/// The one pooling that a file switches on.
fn pooling(path: &Path) -> Result<Pooling> {
    let config = json(path)?;
    let flags = config.as_object().into_iter().flatten();
    let flags = flags.filter_map(|(key, on)| key.strip_prefix("pooling_mode_").filter(|_| *on == true));
    // Newer files name it.
    let on: Vec<&str> = flags.chain(config["pooling_mode"].as_str()).collect();
    match on[..] {
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        _ => {
            let found =
                if on.is_empty() { "no pooling".to_string() } else { format!("the pooling {}", on.join(" and ")) };
            Err(wrong(path, found, "cls or mean"))
        }
    }
}

/// An error where a prompt is put before each text: what is embedded would not be the text alone.
fn refuse_prompt(path: &Path) -> Result<()> {
    let config = if path.is_file() { json(path)? } else { Value::Null };
    let Some(name) = config["default_prompt_name"].as_str() else { return Ok(()) };
    match config["prompts"][name].as_str() {
        None | Some("") => Ok(()),
        Some(prompt) => {
            let expected = "no default prompt: set default_prompt_name to null, and put the prompt into the texts";
            Err::<(), Error>(wrong(path, format!("the prompt {:?}", shortened(prompt)), expected))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const MODULES: &str = r#"[{"path": "0_BERT", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;

    #[test]
    fn plain_folders_and_those_with_modules() {
        let plain = folder(&[("tokenizer_config.json", r#"{"model_max_length": 1e30}"#)]);
        let read = Sentence::read(plain.path()).unwrap();
        let model = plain.path().to_path_buf();
        assert_eq!(read, Sentence { model, max_length: Some(usize::MAX), ..Sentence::default() });

        let files = [
            ("modules.json", MODULES),
            ("0_BERT/sentence_bert_config.json", r#"{"max_seq_length": 12, "do_lower_case": true}"#),
            ("0_BERT/tokenizer_config.json", r#"{"model_max_length": 512}"#),
            ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#),
            ("config_sentence_transformers.json", r#"{"prompts": {"query": "find: "}, "default_prompt_name": null}"#),
        ];
        let modules = folder(&files);
        let read = Sentence::read(modules.path()).unwrap();
        let expected = Sentence {
            model: modules.path().join("0_BERT"),
            pooling: Some(Pooling::Cls),
            normalize: false,
            max_length: Some(12),
            lowercase: true,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let both = r#"{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}"#;
        let dense = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
            {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]"#;
        let outside = r#"[{"path": "../other", "type": "sentence_transformers.models.Transformer"}]"#;
        let prompt = r#"{"prompts": {"query": "find: "}, "default_prompt_name": "query"}"#;
        for (files, why) in [
            (
                &[("modules.json", MODULES), ("1_Pooling/config.json", both)][..],
                "found the pooling cls_token and max_tokens",
            ),
            (&[("modules.json", MODULES), ("1_Pooling/config.json", "{}")], "found no pooling; expected cls or mean"),
            (&[("modules.json", MODULES), ("1_Pooling/config.json", "{")], "1_Pooling/config.json:1:1: found no JSON"),
            (&[("modules.json", dense)], "found a module \"sentence_transformers.models.Dense\""),
            (&[("modules.json", outside)], "found the path \"../other\"; expected folders within"),
            (&[("modules.json", "{}")], "modules.json: found no list"),
            (&[("sentence_bert_config.json", r#"{"max_seq_length": "x"}"#)], "found max_seq_length \"x\""),
            (&[("config_sentence_transformers.json", prompt)], "found the prompt \"find: \""),
        ] {
            let error = Sentence::read(folder(files).path()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
