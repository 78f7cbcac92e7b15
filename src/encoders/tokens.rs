//! Texts as token ids, by a folder's tokenizer.json.

use super::{shortened, wrong};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use tokenizers::{PostProcessor, Tokenizer, TruncationParams};

/// A tokenizer that cuts texts off at a length, and pads none.
pub struct Tokens {
    path: PathBuf,
    tokenizer: Tokenizer,
    lowercase: bool,
    vocabulary: usize,
    types: usize,
}

/// The tokens of a text, special ones among them, and the type of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Tokenized {
    pub ids: Vec<u32>,
    pub types: Vec<u32>,
}

impl Tokens {
    /// Reads `tokenizer.json` of a folder, for texts of at most `max_length` tokens and embeddings of `vocabulary` tokens and
    /// `types` types. How the file itself pads and where it truncates makes no difference.
    ///
    /// # Errors
    /// A file that is missing or broken, or has more tokens than the embedding; a length that leaves no room for a text.
    pub fn open(folder: &Path, lowercase: bool, max_length: usize, [vocabulary, types]: [usize; 2]) -> Result<Tokens> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            let how = "save it in Python by AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)";
            return Err(wrong(folder, "no tokenizer.json", format!("the tokenizer in that file: {how}")));
        }
        let bytes = std::fs::read(&path).map_err(Error::io(&path, "read"))?;
        let broken = |e: tokenizers::Error| wrong(&path, shortened(&e.to_string()), "a tokenizer of Hugging Face's");
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(broken)?;
        let largest = tokenizer.get_vocab(true).into_iter().map(|(token, id)| (id, token)).max();
        if let Some((id, token)) = largest.filter(|(id, _)| *id as usize >= vocabulary) {
            let expected = format!("ids below {vocabulary}, the rows of the model's embedding");
            return Err(wrong(&path, format!("the token {token:?} with id {id}"), expected));
        }
        let special = tokenizer.get_post_processor().map_or(0, |after| after.added_tokens(false));
        if max_length <= special {
            let why = format!("the tokenizer adds {special} special tokens to each text");
            return Err(Error::Usage(format!(
                "a length of {max_length} tokens: {why}; expected at least {}",
                special + 1
            )));
        }
        let direction = tokenizer.get_truncation().map(|own| own.direction).unwrap_or_default();
        let truncation = TruncationParams { max_length, direction, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(truncation)).map_err(broken)?;
        Ok(Tokens { path, tokenizer, lowercase, vocabulary, types })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokens of texts.
    ///
    /// # Errors
    /// A text that the tokenizer fails at, or gives no tokens or ones that the model does not know.
    pub fn of(&self, texts: &[&str]) -> Result<Vec<Tokenized>> {
        let texts: Vec<String> = texts.iter().map(|&text| self.cased(text)).collect();
        let failed = |e: tokenizers::Error| wrong(&self.path, e, "a tokenizer that knows every text");
        let encoded = self.tokenizer.encode_batch_fast(texts.clone(), true).map_err(failed)?;
        let tokens = encoded.iter().zip(&texts).map(|(encoded, text)| {
            let (ids, types) = (encoded.get_ids().to_vec(), encoded.get_type_ids().to_vec());
            let known = |ids: &[u32], rows: usize| ids.iter().all(|&id| (id as usize) < rows);
            match known(&ids, self.vocabulary) && known(&types, self.types) && !ids.is_empty() {
                true => Ok(Tokenized { ids, types }),
                false => {
                    let found = format!("tokens {} for {:?}", shortened(&format!("{ids:?}")), shortened(text));
                    let (vocabulary, types) = (self.vocabulary, self.types);
                    Err(wrong(&self.path, found, format!("some, with ids below {vocabulary} and types below {types}")))
                }
            }
        });
        tokens.collect()
    }

    fn cased(&self, text: &str) -> String {
        if self.lowercase { text.to_lowercase() } else { text.to_string() }
    }
}
