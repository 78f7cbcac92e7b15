//! What a model starts from: its defaults, or one of its presets.

use super::Config;
use crate::error::Result;
use crate::models::{LossKind, ModelSpec};

impl Config {
    /// The defaults of the model called `name`, or one of its presets.
    ///
    /// # Errors
    /// An unknown model or preset, with the nearest.
    pub fn of_preset(name: &str, preset: Option<&str>) -> Result<Config> {
        let defaults = Config::of(name)?;
        preset.map_or(Ok(defaults.clone()), |preset| defaults.with_preset(preset))
    }

    /// This configuration with the settings of a preset of its model over it.
    ///
    /// # Errors
    /// An unknown preset, with the nearest.
    pub fn with_preset(self, name: &str) -> Result<Config> {
        let settings = self.model.spec().preset(name)?;
        settings.iter().try_fold(self, |config, setting| config.with_setting(setting))
    }
}

/// The loss that a model was published with.
pub(super) fn published_loss(spec: &'static ModelSpec) -> Option<LossKind> {
    let paper = Config::of_preset(spec.name, Some("paper"));
    paper.ok().and_then(|config| config.loss.kind).or(spec.loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODELS;

    #[test]
    fn every_preset_applies_and_every_paper_has_one() {
        for spec in MODELS {
            for preset in spec.presets {
                let config = Config::of_preset(spec.name, Some(preset.name)).unwrap();
                config.check().unwrap();
                for setting in preset.settings {
                    let again = config.clone().with_setting(setting).unwrap();
                    assert_eq!(again, config, "{}, {}: {setting} is set twice", spec.name, preset.name);
                }
            }
            let paper = spec.presets.iter().any(|preset| preset.name == "paper");
            assert_eq!(paper, spec.loss.is_some(), "{}", spec.name);
            assert_eq!(published_loss(spec).is_some(), spec.loss.is_some(), "{}", spec.name);
        }
        let error = Config::of_preset("sasrec", Some("papr")).unwrap_err().to_string();
        let expected =
            "--preset: found \"papr\"; expected a preset of sasrec: paper, s3rec, recbole; did you mean paper?";
        assert_eq!(error, expected);
        assert_eq!(Config::of_preset("sasrec", None).unwrap(), Config::of("sasrec").unwrap());
    }
}
