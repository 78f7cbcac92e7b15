//! What every kernel is judged by. A [`Case`] is inputs and what is computed from them; [`checks`] does the rest.

pub mod barriers;
pub mod case;
pub mod checks;
pub mod compare;
pub mod devices;
pub mod fxc;
pub mod nan;
pub mod operators;
pub mod recipe;
pub mod run;

pub use case::Case;
