//! Flags that say how data is read.

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use wgrec::data::{Columns, DataConfig, Format, SkipBad};
use wgrec::settings::{described_words, schema_of};

/// How the data is read.
#[derive(Default, Args)]
pub struct Read {
    /// Format of the data [default: detected from the contents]
    #[arg(long, value_parser = word::<Format>())]
    pub format: Option<Format>,
    #[command(flatten)]
    pub columns: ColumnFlags,
    /// Leave out up to N rows that do not parse, or all of them, and count them; `encode image` does the same with images that
    /// it cannot read [default: 0]
    #[arg(long, value_name = "N|all", num_args = 0..=1, default_missing_value = "all")]
    pub skip_bad: Option<SkipBad>,
}

impl Read {
    pub fn put_over(&self, data: &mut DataConfig) {
        data.format = self.format.or(data.format);
        data.columns = self.columns.columns().over(std::mem::take(&mut data.columns));
        data.skip_bad = self.skip_bad.unwrap_or(data.skip_bad);
    }
}

/// Which columns of a file mean what.
#[derive(Default, Args)]
pub struct ColumnFlags {
    /// Column of user ids
    #[arg(long, value_name = "NAME")]
    user_column: Option<String>,
    /// Column of item ids
    #[arg(long, value_name = "NAME")]
    item_column: Option<String>,
    /// Column of ratings or other values
    #[arg(long, value_name = "NAME")]
    value_column: Option<String>,
    /// Column of times
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,
    /// Column of behaviours (click, buy, ...)
    #[arg(long, value_name = "NAME")]
    behaviour_column: Option<String>,
    /// What separates the columns [default: detected from the first line]
    #[arg(long, value_name = "CHAR")]
    delimiter: Option<char>,
    /// Read no ratings, even where a column of them is recognised
    #[arg(long, conflicts_with = "value_column")]
    no_rating: bool,
    /// Read no times: the order of the file is that of each history
    #[arg(long, conflicts_with = "time_column")]
    no_time: bool,
}

impl ColumnFlags {
    pub fn columns(&self) -> Columns {
        Columns {
            user: self.user_column.clone(),
            item: self.item_column.clone(),
            value: self.value_column.clone(),
            time: self.time_column.clone(),
            behaviour: self.behaviour_column.clone(),
            delimiter: self.delimiter,
            no_rating: self.no_rating,
            no_time: self.no_time,
        }
    }
}

/// The parser of a flag that takes one of the words of a setting, which help lists with their meanings.
pub fn word<T>() -> impl TypedValueParser<Value = T>
where
    T: JsonSchema + DeserializeOwned + Clone + Send + Sync + 'static,
{
    let schema = schema_of::<T>();
    let value = |(word, meaning): (&str, Option<&str>)| {
        let value = PossibleValue::new(word.to_string());
        match meaning {
            Some(meaning) => value.help(meaning.trim_end_matches('.').to_string()),
            None => value,
        }
    };
    let values: Vec<PossibleValue> = described_words(&schema).into_iter().map(value).collect();
    PossibleValuesParser::new(values).map(|word| serde_json::from_value(word.into()).expect("it is one of the words"))
}
