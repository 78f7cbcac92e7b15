//! (known)
