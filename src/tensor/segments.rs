//! (segments)
