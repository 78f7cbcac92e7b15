//! (split)
