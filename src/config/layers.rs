//! Settings that somebody gives, over those of a model or of a run.

use super::Config;
use crate::data::synth::WorldConfig;
use crate::error::Result;

impl Config {
    /// The defaults of `model` or of one of its presets, changed by `lower`, and over them what `given` changes. Where that names no
    /// data, the defaults are those of the embedded world.
    ///
    /// # Errors
    /// An unknown model or preset; those of `lower` and `given`. Ranges are not checked.
    pub fn resolved(
        model: &str,
        preset: Option<&str>,
        lower: impl Fn(Config) -> Result<Config>,
        given: impl Fn(Config) -> Result<Config>,
    ) -> Result<Config> {
        let over = |defaults: Config| {
            let preset = preset.map_or(Ok(defaults.clone()), |preset| defaults.with_preset(preset));
            given(lower(preset?)?)
        };
        let config = over(Config::of(model)?)?;
        let has_data = config.data.path.is_some() || !config.data.auxiliary.is_empty();
        if has_data { Ok(config) } else { over(Config::of(model)?.embedded()) }
    }

    /// These settings of a run, and over them a preset and what `given` changes.
    ///
    /// # Errors
    /// An unknown preset; those of `given` and of [`Config::check`].
    pub fn changed(mut self, preset: Option<&str>, given: impl Fn(Config) -> Result<Config>) -> Result<Config> {
        if let Some(preset) = preset {
            self = self.with_preset(preset)?;
        }
        let mut config = given(self.clone())?;
        if config.data.path.is_some() && self.data.path.is_none() {
            // Real data in place of the embedded world: the world's settings do not apply.
            config = given(Config { world: WorldConfig::default(), ..self })?;
        }
        config.check()?;
        Ok(config)
    }
}
